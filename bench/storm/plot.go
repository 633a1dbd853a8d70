package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	figureWidth  = 24 * vg.Centimeter
	figureHeight = 13 * vg.Centimeter
	legendWidth  = 6 * vg.Centimeter
)

// pointWidth is the time that one point of a line stands for.
const pointWidth = 200 * time.Millisecond

// figure is the file name of the scenario's figure.
func (s *scenario) figure() string { return s.name + ".svg" }

// drawFigures writes the figures of the first runs into a folder.
func (st *study) drawFigures(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range st.scenarios {
		if !s.plotted {
			continue
		}
		canvas := vgsvg.New(figureWidth, figureHeight)
		err := st.draw(draw.New(canvas), s)
		if err == nil {
			err = save(filepath.Join(dir, s.figure()), canvas)
		}
		if err != nil {
			return fmt.Errorf("figure of %s: %w", s.name, err)
		}
	}
	return nil
}

// draw draws a figure: goodput above, attempts below, and at the right which line is which
// library.
func (st *study) draw(canvas draw.Canvas, s *scenario) error {
	canvas.SetColor(color.White) // the page may be dark
	canvas.Fill(canvas.Rectangle.Path())
	panels := [][]*plot.Plot{{newPanel("goodput, calls/s", s)}, {newPanel("attempts/s", s)}}
	for i, count := range []func(bin) int{binSucceeded, binAttempts} {
		for _, l := range slices.Backward(st.contenders(s)) { // the first is on top
			line, err := newLine(st.results[experiment{s.name, l.name}][0], count)
			if err != nil {
				return err
			}
			line.LineStyle = styles[l.name]
			panels[i][0].Add(line)
		}
	}
	panels[1][0].X.Label.Text = "time, s"
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadY: 3 * vg.Millimeter}
	for i, row := range plot.Align(panels, tiles, draw.Crop(canvas, 0, -legendWidth, 0, 0)) {
		panels[i][0].Draw(row[0])
	}
	legend := st.newLegend(s)
	legend.Draw(draw.Crop(canvas, figureWidth-legendWidth+3*vg.Millimeter, 0, 0, -3*vg.Millimeter))
	return nil
}

// newLine is a count as a rate over the run.
func newLine(r *result, count func(bin) int) (*plotter.Line, error) {
	var points plotter.XYs
	for from := time.Duration(0); from < r.scenario.run; from += pointWidth {
		points = append(points, plotter.XY{X: (from + pointWidth/2).Seconds(), Y: r.perSecond(from, from+pointWidth, count)})
	}
	return plotter.NewLine(points)
}

func newPanel(label string, s *scenario) *plot.Plot {
	p := plot.New()
	p.Y.Label.Text = label
	p.X.Min, p.Y.Min = 0, 0
	p.Add(shade{s.from.Seconds(), s.to.Seconds()})
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font.Variant = "Sans"
		axis.Tick.Label.Font.Variant = "Sans"
		axis.Tick.Marker = wholeTicks{}
	}
	return p
}

// wholeTicks are the default ticks with whole numbers.
type wholeTicks struct{ plot.DefaultTicks }

// Ticks implements plot.Ticker.
func (w wholeTicks) Ticks(from, to float64) []plot.Tick {
	ticks := w.DefaultTicks.Ticks(from, to)
	for i, t := range ticks {
		if !t.IsMinor() {
			ticks[i].Label = whole(t.Value)
		}
	}
	return ticks
}

// shade is the gray background of a fault.
type shade struct{ from, to float64 }

// Plot implements plot.Plotter.
func (s shade) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	c.FillPolygon(color.Gray{0xe8}, []vg.Point{
		{X: x(s.from), Y: c.Min.Y}, {X: x(s.to), Y: c.Min.Y}, {X: x(s.to), Y: c.Max.Y}, {X: x(s.from), Y: c.Max.Y},
	})
}

func (st *study) newLegend(s *scenario) plot.Legend {
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.YPosition = draw.PosCenter
	legend.TextStyle.Font.Variant = "Sans"
	legend.TextStyle.Font.Size = 10
	legend.Padding = vg.Millimeter
	for _, l := range st.contenders(s) {
		line := &plotter.Line{LineStyle: styles[l.name]}
		legend.Add(strings.NewReplacer("*", "", "`", "").Replace(l.title), line)
	}
	return legend
}

// save writes a canvas to a file.
func save(path string, canvas *vgsvg.Canvas) error {
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// A reader who does not have this font should see a similar one.
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,sans-serif;"))
	return os.WriteFile(path, text, 0o644)
}

// styles are the lines of the libraries. The colors are those of Okabe and Ito, which
// people with any color vision can tell apart.
var styles = map[string]draw.LineStyle{
	"recommended": style(0x00, 0x00, 0x00, 2.5),
	"failover":    style(0x00, 0x9e, 0x73, 2.5),
	"hedge":       style(0x00, 0x9e, 0x73, 2.5), // never in the same figure
	"default":     style(0x00, 0x00, 0x00, 1, 4, 3),
	"none":        style(0x99, 0x99, 0x99, 1.5),
	"hashicorp":   style(0x00, 0x72, 0xb2, 1.5),
	"azcore":      style(0x56, 0xb4, 0xe9, 1.5),
	"failsafe":    style(0xe6, 0x9f, 0x00, 1.5),
	"heimdall":    style(0xf0, 0xe4, 0x42, 1.5),
	"resty":       style(0xd5, 0x5e, 0x00, 1.5),
	"rehttp":      style(0xcc, 0x79, 0xa7, 1.5),
}

func style(r, g, b uint8, width vg.Length, dashes ...vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: color.RGBA{r, g, b, 0xff}, Width: width, Dashes: dashes}
}
