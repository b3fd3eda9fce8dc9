package arm

import "strings"

// Region is an Azure region: Name as in paths and bodies, Display as the
// services print it.
type Region struct{ Name, Display string }

// Regions are the regions that the lab knows.
func Regions() []Region {
	return []Region{
		{"australiaeast", "Australia East"}, {"australiasoutheast", "Australia Southeast"}, {"brazilsouth", "Brazil South"},
		{"canadacentral", "Canada Central"}, {"canadaeast", "Canada East"}, {"centralindia", "Central India"}, {"centralus", "Central US"},
		{"eastasia", "East Asia"}, {"eastus", "East US"}, {"eastus2", "East US 2"}, {"francecentral", "France Central"},
		{"germanywestcentral", "Germany West Central"}, {"italynorth", "Italy North"}, {"japaneast", "Japan East"}, {"japanwest", "Japan West"},
		{"koreacentral", "Korea Central"}, {"northcentralus", "North Central US"}, {"northeurope", "North Europe"}, {"norwayeast", "Norway East"},
		{"polandcentral", "Poland Central"}, {"southafricanorth", "South Africa North"}, {"southcentralus", "South Central US"}, {"southeastasia", "Southeast Asia"},
		{"southindia", "South India"}, {"spaincentral", "Spain Central"}, {"swedencentral", "Sweden Central"}, {"switzerlandnorth", "Switzerland North"},
		{"uaenorth", "UAE North"}, {"uksouth", "UK South"}, {"ukwest", "UK West"}, {"westcentralus", "West Central US"}, {"westeurope", "West Europe"},
		{"westus", "West US"}, {"westus2", "West US 2"}, {"westus3", "West US 3"},
	}
}

// FindRegion finds a region by either of its spellings, without regard to
// case or spaces.
func FindRegion(text string) (Region, bool) {
	plain := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	for _, region := range Regions() {
		if region.Name == plain {
			return region, true
		}
	}
	return Region{}, false
}
