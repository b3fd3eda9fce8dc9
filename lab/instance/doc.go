// Package instance holds the lab's open databases, those of all servers: what
// the control plane drives and the SQL endpoint connects to. It opens and
// closes engine databases, keeps their replication running, leases them to
// sessions and knows who is connected. It decides nothing about Azure's
// resources: lab/sqlserver does.
//
// Every call that changes something may be repeated, also by the process
// after a crash: what is done already is left as it is.
package instance
