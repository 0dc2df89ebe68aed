package guard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/leanEthereum/leanspec-node/internal/config"
)

// Transfer is the content of a file that moves records to another machine. docs/keys.md documents
// its format.
type Transfer struct {
	GenesisTime uint64
	Scheme      string
	Keys        []TransferKey
}

// TransferKey is the record of one key.
type TransferKey struct {
	Validator uint64
	Role      config.Role
	PublicKey PublicKey
	Record    Record
}

// Field returns the name of a field of Transfer.Keys[i] for errors.
func Field(i int, name string) string { return fmt.Sprintf("keys[%d].%s", i, name) }

// The format and version fields of the file.
const (
	transferFormat  = "leanspec-node signature records"
	transferVersion = 1
)

type transferFile struct {
	Format      string            `json:"format"`
	Version     *uint64           `json:"version"`
	GenesisTime *uint64           `json:"genesis_time"`
	Scheme      string            `json:"scheme"`
	Keys        []transferFileKey `json:"keys"`
}

type transferFileKey struct {
	Validator *uint64 `json:"validator"`
	Role      string  `json:"role"`
	PublicKey string  `json:"public_key"`
	Slot      *uint64 `json:"slot,omitempty"`    // absent if nothing was signed
	Message   *string `json:"message,omitempty"` // absent if the slot is closed
}

// Encode returns the file as JSON.
func (t *Transfer) Encode() []byte {
	v := uint64(transferVersion)
	file := transferFile{Format: transferFormat, Version: &v, GenesisTime: &t.GenesisTime, Scheme: t.Scheme, Keys: []transferFileKey{}}
	for _, k := range t.Keys {
		entry := transferFileKey{Validator: &k.Validator, Role: k.Role.String(), PublicKey: hexOf(k.PublicKey[:])}
		if k.Record.Kind != Unused {
			entry.Slot = &k.Record.Slot
		}
		if k.Record.Kind == Signed {
			message := hexOf(k.Record.Message[:])
			entry.Message = &message
		}
		file.Keys = append(file.Keys, entry)
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		panic(err) // not reached: the file has only strings and numbers
	}
	return append(data, '\n')
}

// ParseTransfer parses a file strictly. Errors are of type [*config.Error] and name path.
func ParseTransfer(path string, data []byte) (*Transfer, error) {
	refuse := func(field, value, format string, args ...any) error {
		return &config.Error{File: path, Field: field, Value: value, Problem: fmt.Sprintf(format, args...)}
	}
	var file transferFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, jsonError(path, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse("", "", "want one JSON object and nothing after it")
	}
	switch {
	case file.Format != transferFormat:
		return nil, refuse("format", shown(file.Format), "want %q", transferFormat)
	case file.Version == nil:
		return nil, refuse("version", "", "missing")
	case *file.Version != transferVersion:
		return nil, refuse("version", fmt.Sprint(*file.Version), "want %d", transferVersion)
	case file.GenesisTime == nil:
		return nil, refuse("genesis_time", "", "missing")
	case file.Scheme == "":
		return nil, refuse("scheme", "", "missing")
	}
	t := &Transfer{GenesisTime: *file.GenesisTime, Scheme: file.Scheme}
	seen := make(map[PublicKey]int)
	for i, entry := range file.Keys {
		if entry.Validator == nil {
			return nil, refuse(Field(i, "validator"), "", "missing")
		}
		key := TransferKey{Validator: *entry.Validator}
		switch entry.Role {
		case config.Attestation.String():
			key.Role = config.Attestation
		case config.Proposal.String():
			key.Role = config.Proposal
		default:
			return nil, refuse(Field(i, "role"), shown(entry.Role), "want %s or %s", config.Attestation, config.Proposal)
		}
		if problem := parseHex(key.PublicKey[:], entry.PublicKey); problem != "" {
			return nil, refuse(Field(i, "public_key"), shown(entry.PublicKey), "%s", problem)
		}
		if first, twice := seen[key.PublicKey]; twice {
			return nil, refuse(Field(i, "public_key"), shown(entry.PublicKey), "the same as %s", Field(first, "public_key"))
		}
		seen[key.PublicKey] = i
		if entry.Slot != nil {
			key.Record = Record{Kind: Closed, Slot: *entry.Slot}
		}
		if entry.Message != nil {
			if entry.Slot == nil {
				return nil, refuse(Field(i, "slot"), "", "missing, but there is a message")
			}
			key.Record.Kind = Signed
			if problem := parseHex(key.Record.Message[:], *entry.Message); problem != "" {
				return nil, refuse(Field(i, "message"), shown(*entry.Message), "%s", problem)
			}
		}
		t.Keys = append(t.Keys, key)
	}
	return t, nil
}

// wanted describes the kinds of values in the file, for errors.
var wanted = map[reflect.Kind]string{
	reflect.Struct: "an object", reflect.Slice: "a list", reflect.String: "a string", reflect.Uint64: "a whole number",
}

// jsonError converts an error of the JSON decoder, and names the field if it is known.
func jsonError(path string, err error) error {
	failure := &config.Error{File: path, Problem: "not JSON: the file ends too early", Err: err}
	var (
		wrong  *json.UnmarshalTypeError
		syntax *json.SyntaxError
	)
	switch {
	case errors.As(err, &wrong):
		failure.Field, failure.Value, failure.Problem = wrong.Field, shown(wrong.Value), "want "+wanted[wrong.Type.Kind()]
	case errors.As(err, &syntax):
		failure.Problem = fmt.Sprintf("not JSON: invalid at byte %d", syntax.Offset)
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		failure.Problem = strings.TrimPrefix(err.Error(), "json: ")
	}
	return failure
}

func hexOf(b []byte) string { return "0x" + hex.EncodeToString(b) }

// parseHex decodes text into to. If text is invalid, it returns what is expected.
func parseHex(to []byte, text string) (problem string) {
	want := fmt.Sprintf("want 0x and %d hex digits", 2*len(to))
	digits, found := strings.CutPrefix(text, "0x")
	if !found || len(digits) != 2*len(to) {
		return want
	}
	if _, err := hex.Decode(to, []byte(digits)); err != nil {
		return want
	}
	return ""
}

// shown quotes a value for an error, and cuts it after 24 bytes.
func shown(value string) string {
	const longest = 24
	if len(value) > longest {
		value = strings.ToValidUTF8(value[:longest], "") + "…"
	}
	return strconv.Quote(value)
}
