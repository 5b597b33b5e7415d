package children

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreeAddress is an address whose port lies below those that the system hands out, so that it stays free while the
// program that has it is down.
func FreeAddress() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000)))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err == nil {
			return address, listener.Close() //nolint:wrapcheck // a listener that cannot be closed was none
		}
	}
	return "", errors.New("no free port between 20000 and 30000")
}
