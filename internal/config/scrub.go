package config

import "time"

// minScrubInterval keeps whole scrubs apart.
const minScrubInterval = time.Hour

// Scrub is about reading stored content again and holding it against its digests.
type Scrub struct {
	// Enabled lets this replica scrub: what is scheduled, asked for, or suspected because a pull has come upon it.
	Enabled bool `name:"scrub-enabled" env:"BERTH_SCRUB_ENABLED" default:"true" negatable:"" help:"Scrub in the background of this replica: what is scheduled, what an administrator asks for, and blobs whose objects a pull did not find."`
	// Interval is the time between the begins of scheduled scrubs. 0: there are none.
	Interval time.Duration `name:"scrub-interval" env:"BERTH_SCRUB_INTERVAL" default:"0s" help:"Time between scrubs by schedule, such as 720h; an hour or more. 0: none."`
	// Fraction is the part of all content that a scheduled scrub reads.
	Fraction float64 `name:"scrub-fraction" env:"BERTH_SCRUB_FRACTION" default:"1" help:"Part of all content that a scheduled scrub reads, drawn at random: above 0, 1 for all."`
	// Rate is how many bytes a second scrubs in the background read at most, each. 0: any number.
	Rate ByteSize `name:"scrub-rate" env:"BERTH_SCRUB_RATE" default:"16MiB" help:"Bytes a second that a scrub in the background reads at most; 0 for any number."`
	// Keep is how long the objects of a damaged blob stay after it was healed, and what was found is remembered after it has ended.
	Keep time.Duration `name:"scrub-keep" env:"BERTH_SCRUB_KEEP" default:"168h" help:"Time for which the damaged objects of a blob stay in storage after its content was pushed again."`
}

func (s Scrub) check(refuse refuseFunc) {
	if s.Interval != 0 && s.Interval < minScrubInterval {
		refuse("BERTH_SCRUB_INTERVAL", "%s is out of range: it may be %s or more, or 0", s.Interval, minScrubInterval)
	}
	if !(s.Fraction > 0 && s.Fraction <= 1) { // also what is no number
		refuse("BERTH_SCRUB_FRACTION", "%v is out of range: it may be above 0, up to 1", s.Fraction)
	}
	if s.Rate < 0 {
		refuse("BERTH_SCRUB_RATE", "%s is negative", s.Rate)
	}
	if s.Keep < 0 {
		refuse("BERTH_SCRUB_KEEP", "%s is negative", s.Keep)
	}
}
