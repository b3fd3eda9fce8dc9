SELECT
    DB_NAME(db_id()) AS database_name,
    dek.encryption_state,
    dek.encryption_state_desc,
    dek.key_algorithm,
    dek.key_length,
    dek.encryptor_type,
    dek.encryptor_thumbprint
FROM sys.dm_database_encryption_keys AS dek
WHERE database_id <> 2;
