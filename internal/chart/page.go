package chart

import (
	"bytes"
	"fmt"
	"html/template"
)

// A Page is an HTML report: text, a table for those who want figures, and
// pictures. It loads nothing from anywhere.
type Page struct {
	Title, About string
	Sections     []Section
	Notes        []string
}

// A Section is a part of a Page.
type Section struct {
	Title    string
	Columns  []string
	Rows     [][]string
	Drawings []*Drawing
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 }
th, td { text-align: right; padding: .2em .8em; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
figure { margin: 1.5em 0 }
svg { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.About}}</p>
{{- range .Sections}}
<h2>{{.Title}}</h2>
{{- with .Pictures}}{{range .}}
<figure role="img" aria-label="{{.Title}}">{{.SVG}}</figure>
{{- end}}{{end}}
{{- if .Rows}}
<table>
<thead><tr>{{range .Columns}}<th scope="col">{{.}}</th>{{end}}</tr></thead>
<tbody>
{{- range .Rows}}
<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{- end}}
</tbody>
</table>
{{- end}}
{{- end}}
{{- with .Notes}}
<h2>Notes</h2>
<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>
{{- end}}
</body>
</html>
`))

// HTML writes the page.
func (p *Page) HTML() ([]byte, error) {
	type picture struct {
		Title string
		SVG   template.HTML
	}
	type section struct {
		Section
		Pictures []picture
	}
	var sections []section
	for _, s := range p.Sections {
		out := section{Section: s}
		for _, d := range s.Drawings {
			svg, err := d.Encode(SVG)
			if err != nil {
				return nil, err
			}
			// What stands before the element belongs to a file, not to a page. The
			// text in it is escaped by whoever drew it.
			if i := bytes.Index(svg, []byte("<svg")); i > 0 {
				svg = svg[i:]
			}
			out.Pictures = append(out.Pictures, picture{d.Title, template.HTML(svg)})
		}
		sections = append(sections, out)
	}
	var out bytes.Buffer
	err := page.Execute(&out, struct {
		Title, About string
		Sections     []section
		Notes        []string
	}{p.Title, p.About, sections, p.Notes})
	if err != nil {
		return nil, fmt.Errorf("writing the page %q: %w", p.Title, err)
	}
	return out.Bytes(), nil
}
