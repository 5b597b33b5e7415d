package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// driven are the results of driving registries, with what one has to know to compare them with others.
type driven struct {
	Date     time.Time    `json:"date"`
	GOOS     string       `json:"goos"`
	GOARCH   string       `json:"goarch"`
	CPUs     int          `json:"cpus"`
	Settings string       `json:"settings"`
	Names    []string     `json:"names"`
	Cases    []drivenCase `json:"cases"`
}

// drivenCase is one case.
type drivenCase struct {
	Name string  `json:"name"`
	Load float64 `json:"load"`
	// Aim is how many times the throughput of each other the first is meant to have; 0: nobody said.
	Aim float64 `json:"aim,omitempty"`
	// Registries are in the order of the names. One that does not have what the case is about did nothing.
	Registries []drivenRegistry `json:"registries"`
	// Ratios compare the first with each of the others.
	Ratios []ratios `json:"ratios,omitempty"`
}

// drivenRegistry is what one registry did in one case.
type drivenRegistry struct {
	Name       string            `json:"name"`
	Supported  bool              `json:"supported"`
	PerSecond  float64           `json:"per_second"` // median of the rounds
	MBPerS     float64           `json:"mb_per_s"`
	CPUMicros  float64           `json:"cpu_us_per_operation,omitempty"`
	MemoryMiB  float64           `json:"memory_mib,omitempty"` // the most after a turn
	Operations []drivenOperation `json:"operations"`
	rounds     []float64
}

// drivenOperation is what became of one operation of a case.
type drivenOperation struct {
	Name   string `json:"name"`
	Count  int    `json:"count"`
	Errors int    `json:"errors"`
	Error  string `json:"error,omitempty"` // the first
	Bytes  int64  `json:"bytes"`
	spread
}

// ratios say how many times the throughput of another registry the first has, and how many times longer the other takes:
// above 1 the first is better.
type ratios struct {
	To         string  `json:"to"`
	Throughput float64 `json:"throughput"` // median of the ratios of the rounds
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	CPU        float64 `json:"cpu,omitempty"`
}

func newDriven(d *driving, targets []*registry) *driven {
	pace := "each client begins when its last operation has ended, so what waits for a slow answer is not counted as slow (coordinated omission)"
	if d.rate > 0 {
		pace = fmt.Sprintf("%.0f operations/s are due, and take from then on until they end", d.rate)
	}
	out := &driven{
		Date: time.Now().UTC().Truncate(time.Second), GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, CPUs: runtime.NumCPU(),
		Settings: fmt.Sprintf("%d clients, %s in %d rounds after %s, seed %d, %d images and %d blobs of scale %g; %s",
			d.clients, d.duration, d.rounds, d.warmUp, d.seed, d.images, d.blobs, d.scale, pace),
	}
	for _, r := range targets {
		out.Names = append(out.Names, r.name)
	}
	return out
}

func newDrivenCase(name string, catalogs []*catalog, turns [][]turn) drivenCase {
	c := drivenCase{Name: name}
	var all []*tally
	for i, k := range catalogs {
		r, sum := newDrivenRegistry(k.repositories[0].name, turns[i])
		c.Registries, all = append(c.Registries, r), append(all, sum)
	}
	for i := 1; i < len(all); i++ {
		first, other := c.Registries[0], c.Registries[i]
		if !first.Supported || !other.Supported {
			continue
		}
		rounds := make([]float64, len(first.rounds))
		for k := range rounds {
			rounds[k] = over(first.rounds[k], other.rounds[k])
		}
		ours, theirs := spreadOf(all[0].took), spreadOf(all[i].took)
		one := ratios{To: other.Name, Throughput: median(rounds), P50: over(theirs.P50, ours.P50), P99: over(theirs.P99, ours.P99)}
		one.CPU = over(other.CPUMicros, first.CPUMicros)
		c.Ratios = append(c.Ratios, one)
	}
	return c
}

// over is a ratio, or 0 where there is none.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func newDrivenRegistry(name string, turns []turn) (drivenRegistry, *tally) {
	r, sum := drivenRegistry{Name: name, Supported: len(turns) > 0}, &tally{}
	byOp := map[string]*tally{}
	var elapsed, cpu time.Duration
	for _, t := range turns {
		elapsed, cpu = elapsed+t.elapsed, cpu+t.cpu
		r.rounds = append(r.rounds, t.perSecond())
		r.MemoryMiB = max(r.MemoryMiB, float64(t.memory)/bytesPerMebi)
		for op, one := range t.tallies {
			if byOp[op] == nil {
				byOp[op] = &tally{}
			}
			byOp[op].add(one)
			sum.add(one)
		}
	}
	r.PerSecond = median(r.rounds)
	if elapsed > 0 {
		r.MBPerS = float64(sum.bytes) / megabyte / elapsed.Seconds()
	}
	if len(sum.took) > 0 {
		r.CPUMicros = float64(cpu.Microseconds()) / float64(len(sum.took))
	}
	for op, one := range byOp {
		o := drivenOperation{Name: op, Count: len(one.took), Errors: one.errors, Bytes: one.bytes, spread: spreadOf(one.took)}
		if one.first != nil {
			o.Error = one.first.Error()
		}
		r.Operations = append(r.Operations, o)
	}
	slices.SortFunc(r.Operations, func(a, b drivenOperation) int { return strings.Compare(a.Name, b.Name) })
	return r, sum
}

// errors is how many operations failed.
func (d *driven) errors() int {
	n := 0
	for _, c := range d.Cases {
		for _, r := range c.Registries {
			for _, o := range r.Operations {
				n += o.Errors
			}
		}
	}
	return n
}

// write prints the tables, and saves the files that are wanted.
func (d *driven) write(w io.Writer, jsonFile, chartFile string) error {
	if err := d.print(w); err != nil {
		return err
	}
	if jsonFile != "" {
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the results: %w", err)
		}
		if err := os.WriteFile(jsonFile, append(text, '\n'), 0o644); err != nil { //nolint:gosec // results are no secret
			return fmt.Errorf("save the results: %w", err)
		}
	}
	if chartFile != "" {
		if err := os.WriteFile(chartFile, d.svg(), 0o644); err != nil { //nolint:gosec // results are no secret
			return fmt.Errorf("save the chart: %w", err)
		}
	}
	return nil
}

func (d *driven) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush tells
	line("case\toperation\tregistry\tcount\tp50 ms\tp90 ms\tp99 ms\tmax ms\terrors")
	for _, c := range d.Cases {
		for _, r := range c.Registries {
			for _, o := range r.Operations {
				line("%s\t%s\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s", c.Name, o.Name, r.Name, o.Count, o.P50, o.P90, o.P99, o.Max, o.failures())
			}
		}
	}
	line("\ncase\tregistry\toperations/s\tMB/s\tCPU us each\tmemory MiB\tload")
	for _, c := range d.Cases {
		for _, r := range c.Registries {
			if !r.Supported {
				line("%s\t%s\tnot supported", c.Name, r.Name)
				continue
			}
			line("%s\t%s\t%.1f\t%.1f\t%.0f\t%.0f\t%.1f", c.Name, r.Name, r.PerSecond, r.MBPerS, r.CPUMicros, r.MemoryMiB, c.Load)
		}
	}
	if len(d.Names) > 1 {
		line("\n%s to\tcase\tthroughput\tp50\tp99\tCPU\taim", d.Names[0])
		for _, c := range d.Cases {
			for _, one := range c.Ratios {
				line("%s\t%s\t%.2fx\t%.2fx\t%.2fx\t%s\t%s", one.To, c.Name, one.Throughput, one.P50, one.P99, times(one.CPU), c.verdict(one))
			}
		}
		line("\nabove 1: %s is better", d.Names[0])
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s/%s, %d CPUs; %s\n", d.GOOS, d.GOARCH, d.CPUs, d.Settings)
	return err
}

// verdict says whether the aim is reached.
func (c drivenCase) verdict(r ratios) string {
	switch {
	case c.Aim == 0:
		return "-"
	case r.Throughput >= c.Aim:
		return fmt.Sprintf("%.1fx PASS", c.Aim)
	}
	return fmt.Sprintf("%.1fx FAIL", c.Aim)
}

// times writes a ratio that may not be known.
func times(ratio float64) string {
	if ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", ratio)
}

func (o drivenOperation) failures() string {
	if o.Errors == 0 {
		return "0"
	}
	return fmt.Sprintf("%d, such as: %s", o.Errors, o.Error)
}
