package doctor

import (
	"crypto/tls"
	"time"
)

// configuration tells what is wrong with the settings, and what is probably not meant.
func (e *examination) configuration() {
	for _, problem := range e.options.Problems {
		e.fail("config.invalid", "set "+problem.Variable+" to something that works: berth serve --help lists every setting",
			"%s: %s", problem.Variable, problem.Sentence)
	}
	if len(e.options.Problems) > 0 {
		return // what they lead to is no news
	}
	warnings := e.cfg.Warnings()
	for _, warning := range warnings {
		e.warn("config.doubtful", "change the setting, unless it is meant so", "%s", warning)
	}
	if len(warnings) == 0 {
		e.ok("config.invalid", "the settings are valid")
	}
}

// Certificates that end within these are told of. Automatic renewal works weeks ahead; two weeks mean that it does not.
const (
	certificateWarning = 14 * 24 * time.Hour
	certificateFailure = 24 * time.Hour
)

// certificateFiles looks at the files from which the server itself serves TLS.
func (e *examination) certificateFiles() {
	if !e.cfg.TLS.Enabled() {
		return
	}
	pair, err := tls.LoadX509KeyPair(e.cfg.TLS.Cert, e.cfg.TLS.Key)
	if err != nil {
		e.fail("tls.files", "put the PEM chain, leaf first, and its key where BERTH_TLS_CERT and BERTH_TLS_KEY name them, readable by the server's user",
			"the certificate cannot be used: %v", err)
		return
	}
	e.expiry("tls.files", "the certificate in BERTH_TLS_CERT", pair.Leaf.NotAfter)
}

// expiry judges when a certificate ends.
func (e *examination) expiry(check, whose string, end time.Time) {
	const do = "renew it, and see why that does not happen by itself; Berth reads new files without a restart"
	left, day := time.Until(end), end.UTC().Format(time.DateOnly)
	switch {
	case left <= 0:
		e.fail(check, do, "%s ended on %s", whose, day)
	case left < certificateFailure:
		e.fail(check, do, "%s ends within a day, on %s", whose, day)
	case left < certificateWarning:
		e.warn(check, do, "%s ends in %d days, on %s", whose, int(left.Hours()/24), day)
	default:
		e.ok(check, "%s ends on %s", whose, day)
	}
}
