package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// contestant is one of the servers that a case compares.
type contestant struct {
	*child
	// beside are more servers that share its work; their processor time counts as well.
	beside []*child
	// op does one operation and returns how many bytes it moved.
	op func(context.Context) (int64, error)
}

// lap is what one contestant did in one turn.
type lap struct {
	ops       int
	bytes     int64
	elapsed   time.Duration
	cpu       time.Duration
	latencies []time.Duration
}

// laps are the turns of one contestant.
type laps []lap

// rounds is how often the contestants take turns. The first turn of each warms up and does not count.
const rounds = 5

// race lets contestants take turns of a length, each with a number of clients, and returns their laps in order.
func race(ctx context.Context, turn time.Duration, clients int, contestants ...contestant) ([]laps, error) {
	all := make([]laps, len(contestants))
	for i, c := range contestants {
		if _, err := c.lap(ctx, 0, clients); err != nil {
			return nil, err
		}
		all[i] = make(laps, 0, rounds)
	}
	for round := range rounds {
		for i := range contestants {
			i = (i + round) % len(contestants) // nobody is always first
			l, err := contestants[i].lap(ctx, turn, clients)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], l)
		}
	}
	return all, nil
}

// lap runs operations for a turn, one at least for each client.
func (c contestant) lap(ctx context.Context, turn time.Duration, clients int) (lap, error) {
	var mu sync.Mutex
	var l lap
	group, ctx := errgroup.WithContext(ctx)
	cpu, err := c.cpu()
	if err != nil {
		return l, err
	}
	began := time.Now()
	for range clients {
		group.Go(func() error {
			var mine lap
			for {
				start := time.Now()
				n, err := c.op(ctx)
				if err != nil {
					return err
				}
				mine.ops++
				mine.bytes += n
				mine.latencies = append(mine.latencies, time.Since(start))
				if time.Since(began) >= turn {
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			l.ops, l.bytes, l.latencies = l.ops+mine.ops, l.bytes+mine.bytes, append(l.latencies, mine.latencies...)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return l, err
	}
	l.elapsed = time.Since(began)
	after, err := c.cpu()
	l.cpu = after - cpu
	return l, err
}

// cpu is the processor time that its servers have taken.
func (c contestant) cpu() (time.Duration, error) {
	sum, err := cpuTime(c.pid())
	for _, other := range c.beside {
		if err != nil {
			break
		}
		var more time.Duration
		more, err = cpuTime(other.pid())
		sum += more
	}
	return sum, err
}

func (l lap) opsPerSecond() float64   { return float64(l.ops) / l.elapsed.Seconds() }
func (l lap) bytesPerSecond() float64 { return float64(l.bytes) / l.elapsed.Seconds() }

// ratio is the median of the ratios of the rounds: what disturbs a round disturbs both of its sides.
func ratio(ours, theirs laps) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i].opsPerSecond() / theirs[i].opsPerSecond()
	}
	return median(ratios)
}

func (ls laps) median(of func(lap) float64) float64 {
	values := make([]float64, len(ls))
	for i, l := range ls {
		values[i] = of(l)
	}
	return median(values)
}

// latency is the median over all operations.
func (ls laps) latency() time.Duration {
	var all []time.Duration
	for _, l := range ls {
		all = append(all, l.latencies...)
	}
	return median(all)
}

func (ls laps) sum() lap {
	var sum lap
	for _, l := range ls {
		sum.ops, sum.bytes = sum.ops+l.ops, sum.bytes+l.bytes
		sum.elapsed, sum.cpu = sum.elapsed+l.elapsed, sum.cpu+l.cpu
	}
	return sum
}

// cpuPerGB is the server's processor time in seconds for 10^9 bytes.
func (ls laps) cpuPerGB() float64 {
	sum := ls.sum()
	return sum.cpu.Seconds() / (float64(sum.bytes) / 1e9)
}

// cpuPerOp is the server's processor time for one operation.
func (ls laps) cpuPerOp() time.Duration {
	sum := ls.sum()
	return sum.cpu / time.Duration(sum.ops)
}

// throughput describes laps that are about bytes, and notes the figures under a prefix.
func (ls laps) throughput(name string, figures map[string]float64) string {
	rate, cpu, latency := ls.median(lap.bytesPerSecond)/1e6, ls.cpuPerGB(), ls.latency()
	figures[name+"_mb_per_s"], figures[name+"_cpu_s_per_gb"], figures[name+"_p50_ms"] = rate, cpu, milliseconds(latency)
	return fmt.Sprintf("%s %.0f MB/s, %.2f CPU s/GB", name, rate, cpu)
}

// requests describes laps that are about requests.
func (ls laps) requests(name string, figures map[string]float64) string {
	rate, cpu, latency := ls.median(lap.opsPerSecond), ls.cpuPerOp(), ls.latency()
	figures[name+"_per_s"], figures[name+"_cpu_us"], figures[name+"_p50_ms"] = rate, float64(cpu.Microseconds()), milliseconds(latency)
	return fmt.Sprintf("%s %.0f/s, %d CPU us", name, rate, cpu.Microseconds())
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median sorts a copy of the values. Of none it is zero.
func median[T ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
