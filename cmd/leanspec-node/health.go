package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// healthCmd asks a running node how it is, for a container without a shell.
type healthCmd struct {
	MetricsPort int           `default:"8008" placeholder:"PORT" help:"The node's --metrics-port (${default})."`
	RPCPort     int           `name:"rpc-port" placeholder:"PORT" help:"The node's --rpc-port, which is asked if --metrics-port is 0."`
	URL         string        `name:"url" placeholder:"URL" help:"Ask here, http://127.0.0.1:8008/livez for example, and not at a port."`
	Ready       bool          `help:"Ask /readyz. The same as --path /readyz."`
	Path        string        `placeholder:"PATH" help:"What to ask: /livez, /readyz or /health (/livez)."`
	Timeout     time.Duration `default:"3s" placeholder:"TIME" help:"How long to wait for the answer (${default})."`
}

// Help is shown before the flags.
func (*healthCmd) Help() string {
	return `Prints one line with the answer, and ends with 0 if it is good, 1 if it is bad or none, 2 if the flags are wrong.

The ports may come from LEANSPEC_METRICS_PORT and LEANSPEC_RPC_PORT, as the node's own do: in the node's container the
command needs no flags.

The default is /livez, which a node that syncs passes: it does what it should, and whoever restarts containers that are
unhealthy must let it. /readyz asks whether the node is of use to others by now.`
}

// Run asks.
func (c *healthCmd) Run(ctx context.Context, console *console) error {
	target, err := c.target()
	if err != nil {
		return badInput(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return badInput(&config.Error{File: "--url", Value: strconv.Quote(c.URL), Problem: err.Error(), Err: err})
	}
	// No proxy stands between the node and itself, and no redirect is an answer.
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", target, c.explain(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("%s: %w", target, c.explain(err))
	}
	said := summary(string(body))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d: %s", target, response.StatusCode, said)
	}
	fmt.Fprintf(console.out, "%s: %s\n", target, said)
	return nil
}

// target returns what to ask.
func (c *healthCmd) target() (*url.URL, error) {
	if c.Timeout <= 0 {
		return nil, &config.Error{File: "--timeout", Value: strconv.Quote(c.Timeout.String()), Problem: "want more than nothing"}
	}
	path := c.Path
	switch {
	case c.Ready && path != "" && path != "/readyz":
		return nil, &config.Error{File: "--ready", Problem: "asks /readyz, and --path something else: give one of them"}
	case c.Ready:
		path = "/readyz"
	case path == "" && c.URL == "":
		path = "/livez"
	}
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if base := path; base != "" && base != "/livez" && base != "/readyz" && base != "/health" {
		return nil, &config.Error{File: "--path", Value: strconv.Quote(c.Path), Problem: "want /livez, /readyz or /health"}
	}
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, &config.Error{File: "--url", Value: strconv.Quote(c.URL), Problem: "want http://HOST:PORT/PATH"}
		}
		if u.User != nil {
			return nil, &config.Error{File: "--url", Problem: "want no user and no password in it"}
		}
		if path != "" && u.Path != "" && u.Path != "/" && u.Path != path {
			return nil, &config.Error{File: "--url", Value: strconv.Quote(c.URL), Problem: "has another path than " + path}
		}
		switch {
		case path != "":
			u.Path = path
		case u.Path == "" || u.Path == "/":
			u.Path = "/livez"
		}
		return u, nil
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"--metrics-port", c.MetricsPort}, {"--rpc-port", c.RPCPort}} {
		if p.port < 0 || p.port > 65535 {
			return nil, &config.Error{File: p.flag, Value: strconv.Itoa(p.port), Problem: "want a port, 1 to 65535, or 0 for none"}
		}
	}
	port := c.MetricsPort
	if port == 0 {
		port = c.RPCPort
	}
	if port == 0 {
		return nil, &config.Error{File: "--metrics-port", Value: "0", Problem: "then give --rpc-port, the node's other port that can be asked, or --url"}
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: path}, nil
}

// explain says what the absence of an answer means.
func (c *healthCmd) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", c.Timeout)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err // without the URL and the address, which are said already
	}
	var asked *url.Error
	if errors.As(err, &asked) {
		return asked.Err
	}
	return err
}

// summary makes one line of an answer. Of a probe's list it takes what failed.
func summary(body string) string {
	var failed, all []string
	for line := range strings.Lines(body) {
		line = strings.Join(strings.Fields(strings.Map(printable, line)), " ")
		if line == "" {
			continue
		}
		all = append(all, line)
		if check, ok := strings.CutPrefix(line, "[-]"); ok {
			failed = append(failed, check)
		}
	}
	if len(failed) > 0 {
		return strings.Join(failed, "; ")
	}
	return strings.Join(all, " ")
}

// printable lets nothing reach a terminal that is not text.
func printable(r rune) rune {
	if r != '\t' && !strconv.IsPrint(r) {
		return ' '
	}
	return r
}
