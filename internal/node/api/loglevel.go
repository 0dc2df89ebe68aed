package api

import (
	"encoding/json"
	"net/http"
)

// LogLevels are the levels of the node's log, in the syntax of the log level option.
type LogLevels interface {
	LogLevel() string
	// SetLogLevel changes the levels, and returns the old and the new ones.
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

func (h handlers) logLevel(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, logLevelBody{h.LogLevels.LogLevel()})
}

func (h handlers) changeLogLevel(w http.ResponseWriter, r *http.Request) {
	field, problem := readField(w, r, "level")
	if problem != "" {
		fail(w, http.StatusBadRequest, problem)
		return
	}
	var level *string
	if json.Unmarshal(field, &level) != nil || level == nil {
		fail(w, http.StatusBadRequest, "'level' must be a string")
		return
	}
	previous, now, err := h.LogLevels.SetLogLevel(*level)
	if err != nil {
		fail(w, http.StatusBadRequest, "'level': "+err.Error())
		return
	}
	// The level is warn, so that a log without lines at info shows why.
	h.Log.Warn("log level changed", "from", previous, "to", now)
	writeJSON(w, logLevelChangeBody{Level: now, Previous: previous})
}
