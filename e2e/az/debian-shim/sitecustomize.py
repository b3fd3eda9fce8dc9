"""Lets Debian's azure-cli run `az keyvault key create|show|rotate|set-attributes`.

Debian 12 packages azure-cli 2.45 without the retired `azure-keyvault` 1.x library
that the command group still imports for its argument tables, so each of these commands ends
in "No module named 'azure.keyvault.v7_0'" (https://github.com/Azure/azure-cli/issues/26835).
The requests themselves come from `azure.keyvault.keys`, which is there.

Python imports a module named sitecustomize at start-up. With this folder on PYTHONPATH, the
finder below answers for the absent names with placeholders that can be imported, documented and
caught, and cannot be called. It is consulted last, so an az that has the real library uses that.
"""

import enum
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

RETIRED = "azure.keyvault.v7_0"
IDENTIFIERS = "azure.keyvault.key_vault_id"
COMMANDS = "azure.cli.command_modules.keyvault"
VENDORED_IDENTIFIERS = ("vendored_sdks", "azure_keyvault_t1", "key_vault_id.py")


class SasTokenType(str, enum.Enum):
    """The one enumeration whose values az lists in its help."""

    account = "account"
    service = "service"


class KeyVaultClient:
    """Stands where az looks up the summary line of a command."""

    def __getattr__(self, operation):
        raise NotImplementedError("Debian's azure-cli has no track-1 client: " + operation)

    def create_key(self):
        """Creates a new key, and a new version of it where the name exists."""
        raise NotImplementedError


def _error_type():
    from msrest.exceptions import HttpOperationError

    return type("KeyVaultErrorException", (HttpOperationError,), {})


def _model(name):
    if name.startswith("__"):
        raise AttributeError(name)
    if name == "SasTokenType":
        return SasTokenType
    if name == "KeyVaultErrorException":
        return _error_type()
    return type(name, (), {})


class _Retired(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the absent modules."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == IDENTIFIERS:
            # az carries this parser itself, in a package whose own imports fail here: load the file alone.
            folder = importlib.util.find_spec(COMMANDS).submodule_search_locations[0]
            file = os.path.join(folder, *VENDORED_IDENTIFIERS)
            return importlib.util.spec_from_file_location(fullname, file)
        if fullname == RETIRED or fullname.startswith(RETIRED + "."):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == RETIRED)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        if module.__name__ == RETIRED + ".models":
            module.__getattr__ = _memoised(module, _model)
        elif module.__name__ == RETIRED + ".key_vault_client":
            module.KeyVaultClient = KeyVaultClient


def _memoised(module, make):
    """One class per name, so that `except` compares a class with itself."""

    def attribute(name):
        value = make(name)
        setattr(module, name, value)
        return value

    return attribute


sys.meta_path.append(_Retired())
