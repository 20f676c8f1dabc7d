package rows_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/rows"
)

func TestEach(t *testing.T) {
	file := rows.File{Name: "f.csv", Columns: []string{"b", "a"}}
	var got []string
	err := file.Each(strings.NewReader("# where it is from\na,x,b\r\n1,2,3\n4,5,6\n"), func(f []string) error {
		got = append(got, strings.Join(f, "-"))
		return nil
	})
	if err != nil || strings.Join(got, " ") != "3-1 6-4" {
		t.Errorf("rows = %q, %v", got, err)
	}
}

func TestEachErrors(t *testing.T) {
	stop := errors.New("stop")
	for _, tt := range []struct {
		name, text, want string
		file             rows.File
	}{
		{"empty", "", "f.csv:1: empty file", rows.File{}},
		{"only comments", "# a\n", "f.csv:1: empty file", rows.File{}},
		{"column", "# x\nb\n", `f.csv:2: column "a" is missing`, rows.File{Columns: []string{"a"}}},
		{"extra column", "a,b\n", "f.csv:1: columns are not a", rows.File{Columns: []string{"a"}, Exact: true}},
		{"fields", "a,b\n1\n", "f.csv:2: 1 fields, want 2", rows.File{Columns: []string{"a"}}},
		{"rows", "a\n1\n2\n3\n", "f.csv:4: more than 2 rows", rows.File{Columns: []string{"a"}, MaxRows: 2}},
		{"line", "a\n" + strings.Repeat("x", rows.MaxLine+1), "f.csv:2: reading: ", rows.File{Columns: []string{"a"}}},
		{"of the caller", "a\n1\n-\n", "f.csv:3: stop", rows.File{Columns: []string{"a"}}},
	} {
		tt.file.Name = "f.csv"
		err := tt.file.Each(strings.NewReader(tt.text), func(f []string) error {
			if f[0] == "-" {
				return stop
			}
			return nil
		})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
		if tt.name == "of the caller" && !errors.Is(err, stop) {
			t.Errorf("%v does not wrap the cause", err)
		}
	}
}

func FuzzEach(f *testing.F) {
	f.Add("a,b\n1,2\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		err := rows.File{Name: "f", Columns: []string{"a"}, MaxRows: 10}.Each(strings.NewReader(text), func(f []string) error {
			n++
			if len(f) != 1 || strings.ContainsAny(f[0], ",\n") {
				t.Errorf("row %q", f)
			}
			return nil
		})
		if n > 10 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}
