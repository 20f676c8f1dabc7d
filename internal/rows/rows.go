// Package rows reads plain CSV files a row at a time: strict, with errors that
// name the file and the line, in memory that does not grow with the file.
//
// The files are plain: no quoting and no line breaks inside of fields, so that a
// line is a row. Lines that begin with # before the header are comments.
package rows

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits that keep a malformed or hostile file from taking the machine's memory
// or its time.
const (
	MaxLine = 1 << 12 // bytes
	MaxRows = 4 << 20 // rows of one file
)

// A File says what a file is called and which columns are wanted of it.
type File struct {
	Name    string   // for errors
	Columns []string // wanted, in the order in which Each passes them
	Exact   bool     // the file has these columns and no others
	MaxRows int      // 0 for MaxRows
}

// Each calls fn with the wanted columns of every row. The slice is reused; the
// strings are not. What fn returns is given the file's name and the line.
func (f File) Each(r io.Reader, fn func(fields []string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, MaxLine), MaxLine)
	limit := f.MaxRows
	if limit == 0 {
		limit = MaxRows
	}
	var index []int
	row := make([]string, len(f.Columns))
	columns, line, rows := 0, 0, 0
	for lines.Scan() {
		line++
		text := strings.TrimSuffix(lines.Text(), "\r")
		if columns == 0 {
			if strings.HasPrefix(text, "#") {
				continue
			}
			header := strings.Split(text, ",")
			columns = len(header)
			for _, w := range f.Columns {
				i := slices.Index(header, w)
				if i < 0 {
					return fmt.Errorf("%s:%d: column %q is missing", f.Name, line, w)
				}
				index = append(index, i)
			}
			if f.Exact && columns != len(f.Columns) {
				return fmt.Errorf("%s:%d: columns are not %s", f.Name, line, strings.Join(f.Columns, ","))
			}
			continue
		}
		if rows++; rows > limit {
			return fmt.Errorf("%s:%d: more than %d rows", f.Name, line, limit)
		}
		fields := strings.Split(text, ",")
		if len(fields) != columns {
			return fmt.Errorf("%s:%d: %d fields, want %d", f.Name, line, len(fields), columns)
		}
		for i, from := range index {
			row[i] = fields[from]
		}
		if err := fn(row); err != nil {
			return fmt.Errorf("%s:%d: %w", f.Name, line, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s:%d: reading: a line of more than %d bytes", f.Name, line+1, MaxLine)
	} else if err != nil {
		return fmt.Errorf("%s:%d: reading: %w", f.Name, line+1, err)
	}
	if columns == 0 {
		return fmt.Errorf("%s:1: empty file", f.Name)
	}
	return nil
}
