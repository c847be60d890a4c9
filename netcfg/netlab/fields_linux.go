package netlab

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// fields renders those fields of a struct that differ from a blank one. It
// goes through pointers, so that the text depends on values only.
func fields(v, blank any) string {
	var b strings.Builder
	value, none := reflect.Indirect(reflect.ValueOf(v)), reflect.Indirect(reflect.ValueOf(blank))
	for i := range value.NumField() {
		field := value.Type().Field(i)
		if !field.IsExported() || reflect.DeepEqual(value.Field(i).Interface(), none.Field(i).Interface()) {
			continue
		}
		fmt.Fprintf(&b, " %s=%s", field.Name, render(value.Field(i)))
	}
	return b.String()
}

// render renders a value of any type for [fields].
func render(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case *nftables.Table, *nftables.Chain:
		return "…" // stands in the line already
	case *expr.Counter:
		return "counter" // without its state, as the next one
	case *expr.Quota:
		return fmt.Sprintf("quota{Bytes=%d Over=%t}", x.Bytes, x.Over)
	case fmt.Stringer:
		if v.Kind() != reflect.Pointer || !v.IsNil() {
			return x.String()
		}
	case []byte:
		return fmt.Sprintf("%q", x)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "none"
		}
		return render(v.Elem())
	case reflect.Struct:
		inner := fields(v.Interface(), reflect.Zero(v.Type()).Interface())
		return strings.ToLower(v.Type().Name()) + "{" + strings.TrimSpace(inner) + "}"
	case reflect.Slice, reflect.Array:
		all := make([]string, v.Len())
		for i := range all {
			all[i] = render(v.Index(i))
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
