package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// healthCmd requests a health endpoint of a running node, for containers without a shell.
type healthCmd struct {
	MetricsPort int           `default:"8008" placeholder:"PORT" help:"The --metrics-port of the node."`
	HTTPAddress string        `name:"http-address" default:"127.0.0.1" placeholder:"IP" help:"The --http-address of the node."`
	RPCPort     int           `name:"rpc-port" placeholder:"PORT" help:"The --rpc-port of the node, used if --metrics-port is 0."`
	URL         string        `name:"url" placeholder:"URL" help:"URL to request instead of a port, such as http://192.0.2.1:8008/livez."`
	Ready       bool          `help:"Request /readyz. The same as --path /readyz."`
	Path        string        `placeholder:"PATH" help:"Endpoint to request: /livez, /readyz or /health. Without it, /livez."`
	Timeout     time.Duration `default:"3s" placeholder:"TIME" help:"Time limit of the request."`
}

// Help returns the text before the flags.
func (*healthCmd) Help() string {
	return `Prints the response of the node in one line. The exit code is 0 if the node passes the check, 1 if it fails or does not
respond, and 2 if a flag is wrong.

LEANSPEC_METRICS_PORT, LEANSPEC_RPC_PORT and LEANSPEC_HTTP_ADDRESS set the ports and the address, as they do for the node.
In the container of the node the command therefore needs no flags.

/livez fails only if restarting the node may help, so a node that is syncing passes it. /readyz passes once the node is
synced and can serve others.`
}

// Run requests the endpoint and prints the response.
func (c *healthCmd) Run(ctx context.Context, console *console) error {
	target, err := c.target()
	if err != nil {
		return badInput(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return badInput(&config.Error{Setting: "--url", Value: strconv.Quote(c.URL), Problem: err.Error(), Err: err})
	}
	// The transport ignores the proxy variables of the environment. A redirect counts as a failure.
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
	text := summary(string(body))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d: %s", target, response.StatusCode, text)
	}
	fmt.Fprintf(console.out, "%s: %s\n", target, text)
	return nil
}

// target returns the URL to request.
func (c *healthCmd) target() (*url.URL, error) {
	if c.Timeout <= 0 {
		return nil, &config.Error{Setting: "--timeout", Value: strconv.Quote(c.Timeout.String()), Problem: "want more than 0s"}
	}
	path := c.Path
	if c.Ready {
		if path != "" && path != "/readyz" {
			return nil, &config.Error{Setting: "--path", Value: strconv.Quote(path), Problem: "cannot be used together with --ready, which requests /readyz"}
		}
		path = "/readyz"
	}
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if path != "" && path != "/livez" && path != "/readyz" && path != "/health" {
		return nil, &config.Error{Setting: "--path", Value: strconv.Quote(c.Path), Problem: "want /livez, /readyz or /health"}
	}
	if c.URL == "" {
		for _, p := range []portFlag{{"--metrics-port", c.MetricsPort}, {"--rpc-port", c.RPCPort}} {
			if err := p.check(); err != nil {
				return nil, err
			}
		}
		port := cmp.Or(c.MetricsPort, c.RPCPort)
		if port == 0 {
			return nil, &config.Error{Setting: "--metrics-port", Value: "0", Problem: "want the port of the node, or --rpc-port or --url instead"}
		}
		address, err := parseHTTPAddress(c.HTTPAddress)
		if err != nil {
			return nil, err
		}
		if address.IsUnspecified() { // the node serves all interfaces
			address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return &url.URL{Scheme: "http", Host: net.JoinHostPort(address.String(), strconv.Itoa(port)), Path: cmp.Or(path, "/livez")}, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &config.Error{Setting: "--url", Value: strconv.Quote(c.URL), Problem: "want http://HOST:PORT/PATH"}
	}
	if u.User != nil {
		return nil, &config.Error{Setting: "--url", Problem: "want a URL without user and password"}
	}
	if path != "" && u.Path != "" && u.Path != "/" && u.Path != path {
		return nil, &config.Error{Setting: "--url", Value: strconv.Quote(c.URL), Problem: "want the path " + path + ", or none"}
	}
	u.Path = cmp.Or(path, strings.TrimSuffix(u.Path, "/"), "/livez")
	return u, nil
}

// explain shortens an error of the HTTP client.
func (c *healthCmd) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no response within %s", c.Timeout)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err // without the URL and the address, which the caller adds
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// summary joins the lines of a response into one. If the response lists failed checks, it returns
// only those.
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
	return cmp.Or(strings.Join(failed, "; "), strings.Join(all, " "))
}

// printable replaces a control character with a space.
func printable(r rune) rune {
	if r != '\t' && !strconv.IsPrint(r) {
		return ' '
	}
	return r
}
