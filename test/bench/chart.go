package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// Measures of the chart, in pixels.
const (
	chartWidth  = 760
	chartLeft   = 170 // of the bars
	chartBars   = 380 // the longest bar
	chartTop    = 64
	barHeight   = 16
	barGap      = 4
	groupGap    = 14
	chartBottom = 28
)

// chartStyle has colours that can be told apart on light and on dark pages, also by those who see few of them.
const chartStyle = `<style>
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:15px}
.note{font-size:12px;fill:#59636e}
.s0{fill:#0969da}.s1{fill:#bc4c00}.s2{fill:#6e7781}.s3{fill:#1a7f37}
@media (prefers-color-scheme: dark){text{fill:#e6edf3}.note{fill:#9198a1}.s0{fill:#58a6ff}.s1{fill:#f0883e}.s2{fill:#8b949e}.s3{fill:#3fb950}}
</style>
`

// svg draws the throughput of every case: within a case, the longest bar is the fastest registry.
func (d *driven) svg() []byte {
	var body bytes.Buffer
	y := chartTop
	for _, c := range d.Cases {
		y = c.draw(&body, y)
	}
	var out bytes.Buffer
	height := y + chartBottom
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&out, "<title>%s</title>\n%s", escaped("Operations per second, "+d.Date.Format("2006-01-02")), chartStyle)
	fmt.Fprintf(&out, `<text class="title" x="16" y="24">%s</text>`+"\n", escaped("Operations per second; longer is better"))
	for i, name := range d.Names {
		x := 16 + i*180
		fmt.Fprintf(&out, `<rect class="s%d" x="%d" y="36" width="12" height="12"/><text x="%d" y="47">%s</text>`+"\n", i%4, x, x+18, escaped(name))
	}
	out.Write(body.Bytes())
	fmt.Fprintf(&out, `<text class="note" x="16" y="%d">%s</text>`+"\n</svg>\n", y+12,
		escaped(fmt.Sprintf("%s/%s, %d CPUs, %s; each case has a scale of its own", d.GOOS, d.GOARCH, d.CPUs, d.Date.Format("2006-01-02"))))
	return out.Bytes()
}

// draw draws a case from y on, and returns where the next one begins.
func (c drivenCase) draw(out *bytes.Buffer, y int) int {
	most := 0.0
	for _, r := range c.Registries {
		most = max(most, r.PerSecond)
	}
	fmt.Fprintf(out, `<text x="16" y="%d">%s</text>`+"\n", y+barHeight-3, escaped(c.Name))
	for i, r := range c.Registries {
		label, length := "not supported", 0.0
		if r.Supported && most > 0 {
			label, length = fmt.Sprintf("%.0f/s", r.PerSecond), chartBars*r.PerSecond/most
			if r.PerSecond < 10 {
				label = fmt.Sprintf("%.1f/s", r.PerSecond)
			}
			if ratio := c.ratioTo(r.Name); ratio > 0 {
				label += fmt.Sprintf(" (%s is %.2fx)", c.Registries[0].Name, ratio)
			}
		}
		fmt.Fprintf(out, `<rect class="s%d" x="%d" y="%d" width="%.1f" height="%d" rx="2"/><text class="note" x="%.1f" y="%d">%s</text>`+"\n",
			i%4, chartLeft, y, length, barHeight, chartLeft+length+6, y+barHeight-4, escaped(label))
		y += barHeight + barGap
	}
	return y + groupGap
}

func (c drivenCase) ratioTo(name string) float64 {
	for _, one := range c.Ratios {
		if one.To == name {
			return one.Throughput
		}
	}
	return 0
}

func escaped(text string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(text)) // a buffer takes everything
	return out.String()
}
