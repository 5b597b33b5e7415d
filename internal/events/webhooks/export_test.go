package webhooks

import (
	"net/netip"

	"github.com/berthregistry/berth/internal/database"
)

// Statements are those that must not read a whole table.
var Statements = map[string]database.Stmt{
	"claim": claim, "renew": renew, "heads": heads, "postpone": postpone, "wakeNext": wakeNext, "removeOld": removeOld,
	"waiting": waiting, "dropPending": dropPending, "deliveriesOf": deliveriesOf, "webhooksOf": webhooksOf,
}

// Reachable tells what Networks say of an address.
func (n Networks) Reachable(addr netip.Addr) bool { return n.reachable(addr) }
