package faults

import (
	"net"
	"sync"
	"time"
)

// link is what the proxies have in common: their connections, and how they are to fail now.
type link struct {
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	refuse  bool
	delay   time.Duration
	hang    chan struct{} // open while everything hangs; nil when nothing does
	halve   int           // answers to be cut in the middle
	slow    int           // S3 requests to be answered with SlowDown
	failing int           // S3 requests to be answered with 500 once they are done
	waiting int           // what a hang holds
	counts  Counts
}

// Counts is how often each fault has met anything.
type Counts struct {
	// Cut connections, Refused ones, Halved answers, SlowDown answers, Lost ones (done, answered with 500).
	Cut, Refused, Halved, SlowDown, Lost int
}

// Refuse makes new connections end at once, and with them those that exist, or lets them live again.
func (l *link) Refuse(on bool) {
	l.mu.Lock()
	l.refuse = on
	l.mu.Unlock()
	if on {
		l.Cut()
	}
}

// Cut ends every connection.
func (l *link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		_ = conn.Close()
		l.counts.Cut++
	}
	clear(l.conns)
}

// Delay makes whatever passes wait first; 0 ends that.
func (l *link) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// Hang stops everything that passes, or lets it go on.
func (l *link) Hang(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case on && l.hang == nil:
		l.hang = make(chan struct{})
	case !on && l.hang != nil:
		close(l.hang)
		l.hang = nil
	}
}

// Halve cuts the next answers in their middle.
func (l *link) Halve(answers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.halve = answers
}

// Heal ends every fault.
func (l *link) Heal() {
	l.Hang(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse, l.delay, l.halve, l.slow, l.failing = false, 0, 0, 0, 0
}

// Counts is what the faults have met.
func (l *link) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// take uses one of a number of faults up.
func (l *link) take(left, count *int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *left == 0 {
		return false
	}
	*left--
	*count++
	return true
}

// enter keeps a connection, unless connections are refused.
func (l *link) enter(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		l.counts.Refused++
		_ = conn.Close()
		return false
	}
	if l.conns == nil {
		l.conns = map[net.Conn]struct{}{}
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *link) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	_ = conn.Close()
}

// pass waits as long as the faults say.
func (l *link) pass() {
	l.mu.Lock()
	delay, hang := l.delay, l.hang
	l.mu.Unlock()
	if delay > 0 {
		<-time.After(delay)
	}
	if hang != nil {
		l.wait(1)
		<-hang
		l.wait(-1)
	}
}

func (l *link) wait(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting += more
}

// Waiting is how much a hang holds: requests to S3, or what goes one way through a connection to PostgreSQL.
func (l *link) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}
