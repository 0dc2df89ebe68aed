package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
)

// LogLevels are what the node writes to its log, as --log-level says it.
type LogLevels interface {
	LogLevel() string
	// SetLogLevel changes them, and returns what they were and are.
	SetLogLevel(text string) (previous, now string, err error)
}

type (
	logLevelBody struct {
		Level string `json:"level"`
	}
	logLevelChangeBody struct {
		Level    string `json:"level"`
		Previous string `json:"previous"`
	}
)

// WithLogLevel adds a route that leanSpec's server does not have to the API,
// /lean/v0/admin/log_level. It answers and is asked in the manner of the
// aggregator's route. Every change is a line in log.
func WithLogLevel(api http.Handler, levels LogLevels, log *slog.Logger) http.Handler {
	const path = "/lean/v0/admin/log_level"
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, logLevelBody{levels.LogLevel()})
	})
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		level, problem := readString(w, r, "level")
		if problem != "" {
			fail(w, http.StatusBadRequest, problem)
			return
		}
		previous, now, err := levels.SetLogLevel(level)
		if err != nil {
			fail(w, http.StatusBadRequest, "'level': "+err.Error())
			return
		}
		// A warning, so that a log that goes quiet says why, unless it is to have
		// errors alone.
		log.Warn("log level changed", "from", previous, "to", now)
		writeJSON(w, logLevelChangeBody{Level: now, Previous: previous})
	})
	mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "GET, HEAD, POST")
		fail(w, http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed))
	})
	return mux
}

// readString reads a field of a JSON object, or says what is wrong with it.
func readString(w http.ResponseWriter, r *http.Request, field string) (value, problem string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil || !json.Valid(body) {
		return "", "Invalid JSON body"
	}
	var object map[string]json.RawMessage
	_ = json.Unmarshal(body, &object) // JSON that is no object has no field either
	raw, ok := object[field]
	if !ok {
		return "", "Missing '" + field + "' field in body"
	}
	var text *string
	if json.Unmarshal(raw, &text) != nil || text == nil {
		return "", "'" + field + "' must be a string"
	}
	return *text, ""
}
