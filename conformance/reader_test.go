package conformance

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/leanEthereum/leanspec-node/internal/core/ssz"
	"github.com/leanEthereum/leanspec-node/xmss"
)

// reader reads Go values from the JSON of vectors. The JSON name of a field is its Go name
// in camel case, or its json tag. The fields of an embedded struct belong to the outer
// struct. A field without a counterpart is an error, except for a pointer or interface
// without a JSON field.
//
// leanSpec: base.py, CamelModel.to_json
type reader struct {
	scheme *xmss.Scheme // of signatures
}

// hexBytes is read from a string, "0x…". A []byte is an SSZ byte list and is read from
// {"data": "0x…"}.
type hexBytes []byte

// jsonReader is a type with its own form in JSON.
type jsonReader interface {
	readJSON(r reader, j any) error
}

// into sets the value that v points to.
func (r reader) into(v any, j any) error { return r.fill(reflect.ValueOf(v).Elem(), j) }

func (r reader) fill(v reflect.Value, j any) error {
	switch p := v.Addr().Interface().(type) {
	case jsonReader:
		return p.readJSON(r, j)
	case *ssz.Bitlist:
		return r.fillBits(p, j)
	case **xmss.Signature:
		b, err := parseHex(j)
		if err == nil {
			*p, err = r.scheme.ParseSignature(b)
		}
		return err
	case *xmss.PublicKey:
		b, err := parseHex(j)
		if err == nil {
			*p, err = xmss.ParsePublicKey(b)
		}
		return err
	case *hexBytes:
		return assign(p, parseHex, j)
	case *[]byte:
		return assign(p, func(j any) ([]byte, error) { return parseHex(unwrap(j)) }, j)
	}
	switch v.Kind() {
	case reflect.Interface:
		v.Set(reflect.ValueOf(&j).Elem())
		return nil
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return r.fill(v.Elem(), j)
	case reflect.Struct:
		return r.fillStruct(v, j)
	case reflect.Slice:
		list, ok := unwrap(j).([]any)
		if !ok {
			return fmt.Errorf("got %v, want a list", j)
		}
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		return r.fillElements(v, list)
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b, err := parseHex(j)
			if err == nil && len(b) != v.Len() {
				err = fmt.Errorf("got %d bytes, want %d", len(b), v.Len())
			}
			if err == nil {
				reflect.Copy(v, reflect.ValueOf(b))
			}
			return err
		}
		list, ok := unwrap(j).([]any)
		if !ok || len(list) != v.Len() {
			return fmt.Errorf("got %v, want a list of %d elements", j, v.Len())
		}
		return r.fillElements(v, list)
	case reflect.Map:
		object, ok := j.(map[string]any)
		if !ok {
			return fmt.Errorf("got %v, want an object", j)
		}
		v.Set(reflect.MakeMap(v.Type()))
		for name, j := range object {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			if err := r.fill(key, name); err != nil {
				return err
			}
			if err := r.fill(value, j); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			v.SetMapIndex(key, value)
		}
		return nil
	}
	return fillBasic(v, j)
}

// fillBasic reads booleans, strings and integers. An integer may be a JSON string, as SSZ
// integers are. A signed integer may end in ".0", as timestamps do.
func fillBasic(v reflect.Value, j any) error {
	if b, ok := j.(bool); ok && v.Kind() == reflect.Bool {
		v.SetBool(b)
		return nil
	}
	digits, ok := j.(string)
	if ok && v.Kind() == reflect.String {
		v.SetString(digits)
		return nil
	}
	if number, isNumber := j.(json.Number); isNumber {
		digits, ok = number.String(), true
	}
	switch {
	case ok && v.CanUint():
		n, err := strconv.ParseUint(digits, 10, v.Type().Bits())
		v.SetUint(n)
		return err
	case ok && v.CanInt():
		n, err := strconv.ParseInt(strings.TrimSuffix(digits, ".0"), 10, v.Type().Bits())
		v.SetInt(n)
		return err
	}
	return fmt.Errorf("got %v, want a value of type %s", j, v.Type())
}

func (r reader) fillElements(v reflect.Value, list []any) error {
	for i, j := range list {
		if err := r.fill(v.Index(i), j); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (r reader) fillStruct(v reflect.Value, j any) error {
	object, ok := j.(map[string]any)
	if !ok {
		return fmt.Errorf("got %v, want an object", j)
	}
	known := make(map[string]bool)
	if err := r.fillFields(v, object, known); err != nil {
		return err
	}
	for name := range object {
		if !known[name] {
			return fmt.Errorf("unknown field %s of %s", name, v.Type())
		}
	}
	return nil
}

func (r reader) fillFields(v reflect.Value, object map[string]any, known map[string]bool) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			if err := r.fillFields(v.Field(i), object, known); err != nil {
				return err
			}
			continue
		}
		name := field.Tag.Get("json")
		if name == "" {
			name = strings.ToLower(field.Name[:1]) + field.Name[1:]
		}
		known[name] = true
		j, ok := object[name]
		if !ok {
			if k := field.Type.Kind(); k == reflect.Pointer && field.Type != signatureType || k == reflect.Interface {
				continue
			}
			return fmt.Errorf("field %s of %s is missing", name, v.Type())
		}
		if err := r.fill(v.Field(i), j); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

var signatureType = reflect.TypeFor[*xmss.Signature]()

func (r reader) fillBits(p *ssz.Bitlist, j any) error {
	var bits []bool
	if err := r.into(&bits, j); err != nil {
		return err
	}
	*p = ssz.NewBitlist(len(bits))
	for i, bit := range bits {
		if bit {
			p.Set(i)
		}
	}
	return nil
}

// unwrap returns the elements of an SSZ collection, {"data": …}.
func unwrap(j any) any {
	if object, ok := j.(map[string]any); ok && len(object) == 1 {
		if data, ok := object["data"]; ok {
			return data
		}
	}
	return j
}

func parseHex(j any) ([]byte, error) {
	s, ok := j.(string)
	digits, prefixed := strings.CutPrefix(s, "0x")
	if !ok || !prefixed {
		return nil, fmt.Errorf("got %v, want a hex string that begins with 0x", j)
	}
	return hex.DecodeString(digits)
}

func assign[T ~[]byte](p *T, parse func(any) ([]byte, error), j any) error {
	b, err := parse(j)
	*p = b
	return err
}

// TestReaderIsStrict checks that unknown and missing fields are errors.
func TestReaderIsStrict(t *testing.T) {
	type inner struct{ Count uint8 }
	type outer struct {
		inner
		Name     string
		Optional *bool
		Bits     ssz.Bitlist
	}
	for name, test := range map[string]struct {
		json string
		ok   bool
	}{
		"complete":         {`{"count":1,"name":"a","optional":true,"bits":{"data":[true]}}`, true},
		"optional missing": {`{"count":1,"name":"a","bits":{"data":[]}}`, true},
		"unknown field":    {`{"count":1,"name":"a","bits":{"data":[]},"new":1}`, false},
		"field missing":    {`{"count":1,"bits":{"data":[]}}`, false},
		"embedded missing": {`{"name":"a","bits":{"data":[]}}`, false},
		"wrong type":       {`{"count":"x","name":"a","bits":{"data":[]}}`, false},
		"out of range":     {`{"count":256,"name":"a","bits":{"data":[]}}`, false},
		"other case":       {`{"Count":1,"name":"a","bits":{"data":[]}}`, false},
		"bits of numbers":  {`{"count":1,"name":"a","bits":{"data":[1]}}`, false},
		"no object":        {`[]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := json.NewDecoder(strings.NewReader(test.json))
			d.UseNumber()
			var j any
			if err := d.Decode(&j); err != nil {
				t.Fatal(err)
			}
			if err := (reader{}).into(new(outer), j); (err == nil) != test.ok {
				t.Errorf("reading %s: error = %v, want success = %v", test.json, err, test.ok)
			}
		})
	}
}
