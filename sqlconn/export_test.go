package sqlconn

// FirewallHint is the hint that a message of the firewall leads to.
func FirewallHint(message string) string { return hintOfNumber(NumberFirewall, Place{}, message) }
