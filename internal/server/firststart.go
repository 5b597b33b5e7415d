package server

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
)

// ensureAdmin creates the first administrator where there is no user, and shows what was generated. It is shown on
// standard output only, once; the log never has it.
func ensureAdmin(ctx context.Context, service *auth.Service, admin config.Admin, e config.Endpoints, stdout io.Writer) error {
	created, password, token, err := service.EnsureAdmin(ctx, auth.Bootstrap{
		Email: admin.Email, Password: admin.Password.Reveal(), Token: admin.Token.Reveal(),
	})
	if err != nil {
		return fmt.Errorf("create the first administrator: %w", err)
	}
	if created {
		// Hashing the password took 64 MiB. Left to itself, the collector would let the heap grow to twice that.
		debug.FreeOSMemory()
		_, err = io.WriteString(stdout, firstStart{email: admin.Email, password: password, token: token, endpoints: e}.text())
	}
	return err //nolint:wrapcheck // names standard output; without it, nobody would ever know the credentials
}

// firstStart is what the first person at the terminal is told. An empty password or token was not generated.
type firstStart struct {
	email, password, token string
	endpoints              config.Endpoints
}

func (f firstStart) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	variable := "BERTH_TOKEN"
	line("")
	line("This is the first start. Keep what follows: it is shown only now.")
	line("")
	line("  URL             %s", f.endpoints.PublicURL)
	line("  e-mail          %s", f.email)
	if f.password != "" {
		line("  password        %s", f.password)
	} else {
		line("  password        as set in BERTH_ADMIN_PASSWORD")
	}
	if f.token != "" {
		line("  registry token  %s", f.token)
	} else {
		line("  registry token  as set in BERTH_ADMIN_TOKEN")
		variable = "BERTH_ADMIN_TOKEN"
	}
	line("")
	line("Log in with the token and push, with any one of these:")
	line("")
	if f.token != "" {
		line("  export %s='%s'", variable, f.token)
		line("")
	}
	f.commands(line, variable)
	line("")
	return b.String()
}

// commands writes what to type, as it works for this URL.
func (f firstStart) commands(line func(string, ...any), variable string) {
	host, crane, skopeo, dest := f.endpoints.Host, "crane", "", ""
	if strings.HasPrefix(f.endpoints.PublicURL, "http://") {
		crane, skopeo, dest = "crane --insecure", " --tls-verify=false", " --dest-tls-verify=false"
	}
	line(`  echo "$%s" | docker login %s -u admin --password-stdin`, variable, host)
	line("  docker tag IMAGE %s/demo/app:1 && docker push %s/demo/app:1", host, host)
	line("")
	line(`  echo "$%s" | %s auth login %s -u admin --password-stdin`, variable, crane, host)
	line("  %s push IMAGE.tar %s/demo/app:1", crane, host)
	line("")
	line(`  echo "$%s" | skopeo login%s %s -u admin --password-stdin`, variable, skopeo, host)
	line("  skopeo copy%s docker-archive:IMAGE.tar docker://%s/demo/app:1", dest, host)
}
