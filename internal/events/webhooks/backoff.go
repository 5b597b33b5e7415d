package webhooks

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// delays are the times between attempts, as the Standard Webhooks specification proposes them; the last one repeats.
var delays = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
}

const (
	// jitter spreads attempts out, as a part of the delay.
	jitter = 0.1
	// leastRetryAfter and mostRetryAfter bound how long a receiver can ask to be left alone.
	leastRetryAfter = time.Second
	mostRetryAfter  = 24 * time.Hour
	// givenUpAfter is how long a webhook may fail, each attempt of it, before it is disabled.
	givenUpAfter = 5 * 24 * time.Hour
)

// delay is the time until the next attempt, after a number of them.
func delay(attempts int64) time.Duration {
	d := delays[min(attempts, int64(len(delays)))-1]
	return d + time.Duration(float64(d)*jitter*(2*rand.Float64()-1))
}

// retryAfter is what a response asks for; 0 for nothing that can be granted.
func retryAfter(status int, header http.Header, now time.Time) time.Duration {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0
	}
	text := header.Get("Retry-After")
	var asked time.Duration
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		asked = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		asked = at.Sub(now)
	} else {
		return 0
	}
	return min(max(asked, leastRetryAfter), mostRetryAfter)
}
