package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

// commandLine is the whole command line; the help texts are its reference.
type commandLine struct {
	Serve   serveCommand   `cmd:"" help:"Serve the registry."`
	Health  healthCommand  `cmd:"" help:"Ask the server of this machine whether it is ready."`
	Migrate migrateCommand `cmd:"" help:"Bring the database schema up to date."`
	GC      gcCommand      `cmd:"" name:"gc" help:"Collect garbage and compact blobs once, beside running servers."`
	Scrub   scrubCommand   `cmd:"" help:"Read stored content again, and tell what is damaged, beside running servers."`
	Doctor  doctorCommand  `cmd:"" help:"Examine settings, database, storage and the way to the server, and say what to do."`
	Verify  verifyCommand  `cmd:"" help:"Push to and pull from a running registry, at any URL, and see that it behaves."`
	Backup  struct {
		Database backupDatabaseCommand `cmd:"" help:"Copy an SQLite database as it is at one instant, beside a running server."`
		Hold     backupHoldCommand     `cmd:"" help:"Keep all servers from removing objects while the storage is copied."`
		Release  backupReleaseCommand  `cmd:"" help:"Let servers remove objects again."`
	} `cmd:"" help:"Make backups that belong together; see docs/backup.md."`
	User struct {
		Create userCreateCommand `cmd:"" help:"Create a user."`
	} `cmd:"" help:"Manage users."`
	Token struct {
		Create tokenCreateCommand `cmd:"" help:"Create a personal registry token and print it."`
	} `cmd:"" help:"Manage registry tokens."`
	Project struct {
		List   projectListCommand   `cmd:"" help:"List projects."`
		Create projectCreateCommand `cmd:"" help:"Create a project."`
		Claim  projectClaimCommand  `cmd:"" help:"Claim a project that was pushed without an account."`
	} `cmd:"" help:"Manage projects of a running server."`
	Robot struct {
		Create robotCreateCommand `cmd:"" help:"Create a CI token of a project and print it."`
	} `cmd:"" help:"Manage CI tokens of a running server."`
	Runner struct {
		Create runnerCreateCommand `cmd:"" help:"Create a pull-only token of a machine and print it."`
	} `cmd:"" help:"Manage runners of a running server."`
	Audit struct {
		Export auditExportCommand `cmd:"" help:"Write the audit log as lines of JSON, the oldest entry first; for admins."`
	} `cmd:"" help:"Read the audit log of a running server."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type serveCommand struct {
	config.Config `embed:""`
}

// Run serves until a signal.
func (c *serveCommand) Run(p *process) error {
	if err := p.loader.Check(c.Config); err != nil {
		return err
	}
	return server.Run(p.ctx, c.Config, server.Options{
		Logger: server.NewLogger(p.stderr, c.Log), Stdout: p.stdout, Version: buildVersion().String(),
	})
}

// databaseFlags are the settings of the commands that only need the database.
type databaseFlags struct {
	Database config.Database `embed:"" group:"Database"`
	Log      config.Log      `embed:"" group:"Logging"`
}

func (f databaseFlags) options(p *process) (server.Options, error) {
	if err := p.loader.Check(f.Database, f.Log); err != nil {
		return server.Options{}, err
	}
	return server.Options{Logger: server.NewLogger(p.stderr, f.Log)}, nil
}

type migrateCommand struct {
	databaseFlags `embed:""`
}

// Run migrates.
func (c *migrateCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	applied, err := server.Migrate(p.ctx, c.Database, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "the schema is up to date, %d migrations applied\n", applied)
	return err
}

type userCreateCommand struct {
	databaseFlags `embed:""`

	Email         string `required:"" placeholder:"ADDRESS" help:"E-mail address to log in with."`
	Admin         bool   `help:"May do everything."`
	PasswordStdin bool   `help:"Read the password from the first line of standard input. Without a password, only tokens work."`
}

// Run creates the user.
func (c *userCreateCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	user := server.NewUser{Email: c.Email, Admin: c.Admin}
	if c.PasswordStdin {
		if user.Password, err = readSecret(p.stdin); err != nil {
			return err
		}
	}
	id, err := server.CreateUser(p.ctx, c.Database, user, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "created user %s, ID %s\n", c.Email, id)
	return err
}

// maxSecret bounds what is read as a password, in bytes.
const maxSecret = 4 << 10

func readSecret(from io.Reader) (config.Secret, error) {
	line, err := bufio.NewReader(io.LimitReader(from, maxSecret)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usageError{errors.New("--password-stdin: standard input holds no password")}
	}
	return config.Secret(line), nil
}

type tokenCreateCommand struct {
	databaseFlags `embed:""`

	Email   string        `required:"" placeholder:"ADDRESS" help:"E-mail address of the owner."`
	Name    string        `required:"" placeholder:"TEXT" help:"What tells the owner's tokens apart."`
	Expires time.Duration `placeholder:"DURATION" help:"Life of the token, such as 720h. Default: no end."`
}

// Run creates the token. Standard output gets the secret and nothing else, for use in scripts.
func (c *tokenCreateCommand) Run(p *process) error {
	options, err := c.options(p)
	if err != nil {
		return err
	}
	if c.Expires < 0 {
		return usageError{fmt.Errorf("--expires: %s is in the past", c.Expires)}
	}
	secret, err := server.CreateToken(p.ctx, c.Database, server.NewToken{Email: c.Email, Name: c.Name, Life: c.Expires}, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, secret.Reveal())
	return err
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(p *process) error {
	_, err := fmt.Fprintln(p.stdout, "berth "+buildVersion().String())
	return err
}
