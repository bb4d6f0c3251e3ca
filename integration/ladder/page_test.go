package ladder

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// browser returns the path of Chromium.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const want = "no Chromium (apt-get install chromium)"
	if os.Getenv("UPRUNG_REQUIRE_SERVERS") == "1" {
		t.Fatal(want)
	}
	t.Skip(want)
	return ""
}

// serve starts the ladder and returns the address of its page.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ladder")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary, "./examples/ladder").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, append(args, "-http", "127.0.0.1:0")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("the ladder does not end")
			_ = cmd.Process.Kill()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, url, ok := strings.Cut(strings.TrimSpace(line), " at ")
	if !ok {
		t.Fatalf("the ladder says %q", line)
	}
	return url
}

// open starts a browser.
func open(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser(t)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// do runs actions in the browser.
func do(t *testing.T, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// keep writes a screenshot where CI keeps them.
func keep(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("UPRUNG_ARTIFACTS")
	if dir == "" {
		return
	}
	var picture []byte
	do(t, ctx, "screenshot", chromedp.FullScreenshot(&picture, 100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}

// faults finds what is wrong with the layout: text with less contrast than WCAG 2.2 AA
// demands, elements that are wider than the page, and controls that lie upon one another.
const faults = `(() => {
	const found = [];
	const channel = c => { c /= 255; return c <= .04045 ? c / 12.92 : Math.pow((c + .055) / 1.055, 2.4); };
	const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
	const color = s => { const m = s.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
	const back = node => { for (; node; node = node.parentElement) { const c = color(getComputedStyle(node).backgroundColor); if (c) return c; } return [255, 255, 255]; };
	const root = document.documentElement;
	if (root.scrollWidth > root.clientWidth) found.push("the page scrolls sideways: " + root.scrollWidth + " > " + root.clientWidth);
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let text; text = walker.nextNode();) {
		const node = text.parentElement, box = node.getBoundingClientRect();
		if (!text.textContent.trim() || ["SCRIPT", "STYLE"].includes(node.tagName) || box.width === 0 || node.closest("[hidden]") || node.closest(":disabled")) continue;
		if (getComputedStyle(node).visibility === "hidden" || node.closest("thead") && innerWidth < 640) continue;
		const style = getComputedStyle(node), fill = node instanceof SVGElement ? style.fill : style.color;
		const fore = color(fill), behind = back(node);
		const [a, b] = [light(fore), light(behind)].sort((x, y) => y - x);
		const ratio = (a + .05) / (b + .05);
		if (ratio < 4.5) found.push("contrast " + ratio.toFixed(2) + " of " + JSON.stringify(text.textContent.trim().slice(0, 30)));
		if (box.right > root.clientWidth + 1 || box.left < -1) found.push("clipped: " + JSON.stringify(text.textContent.trim().slice(0, 30)));
	}
	const boxes = [...document.querySelectorAll("button, figure, pre, table, summary")].filter(n => n.offsetParent).map(n => [n, n.getBoundingClientRect()]);
	for (const [n, a] of boxes) for (const [m, b] of boxes) {
		if (n !== m && !n.contains(m) && !m.contains(n) && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) found.push("overlap: " + n.textContent.slice(0, 20) + " and " + m.textContent.slice(0, 20));
	}
	return found;
})()`

func TestPageShowsTheClimb(t *testing.T) {
	url := serve(t, "-rungs", "limit", "-duration", "9s")
	ctx := open(t)
	do(t, ctx, "climb", chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url),
		chromedp.WaitReady(`#rungs button`), chromedp.Click("#play"), chromedp.WaitVisible("#table tbody tr"),
		chromedp.Poll(`document.getElementById("what").textContent === "Nothing runs."`, nil))

	// The numbers of the page are those of the JSON.
	resp, err := http.Get(url + "/results")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var results []struct {
		Name, Metric, Title, Want string
		OK                        bool
		Shown                     [2]string
	}
	if err := json.NewDecoder(resp.Body).Decode(&results); err != nil || len(results) == 0 {
		t.Fatalf("results are %v, %v", results, err)
	}
	var rows [][]string
	do(t, ctx, "table", chromedp.Evaluate(`[...document.querySelectorAll("#table tbody tr")].map(r => [...r.cells].map(c => c.textContent))`, &rows))
	if len(rows) != len(results) {
		t.Fatalf("%d rows, want %d", len(rows), len(results))
	}
	for at, r := range results {
		verdict := "✗ missed"
		if r.OK {
			verdict = "✓ kept"
		}
		want := []string{r.Name, r.Title, r.Shown[0], r.Shown[1], r.Want, verdict}
		if fmt.Sprint(rows[at]) != fmt.Sprint(want) {
			t.Errorf("row %d is %q, want %q", at, rows[at], want)
		}
	}
	var drawn int
	do(t, ctx, "charts", chromedp.Evaluate(`document.querySelectorAll("#rates path, #times path").length && [...document.querySelectorAll("#rates path, #times path")].filter(p => p.getAttribute("d").length > 40).length`, &drawn))
	if drawn != 6 {
		t.Errorf("%d of 6 lines are drawn", drawn)
	}

	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			var found []string
			do(t, ctx, "layout", chromedp.EmulateViewport(width, 900),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.Evaluate(`document.getElementById("chain-box").open = true`, nil), chromedp.Evaluate(faults, &found))
			for _, f := range found {
				t.Errorf("%s, %d pixels: %s", scheme, width, f)
			}
			keep(t, ctx, fmt.Sprintf("ladder-%s-%d", scheme, width))
		}
	}
}

func TestPageExplores(t *testing.T) {
	url := serve(t, "-rungs", "failure", "-duration", "9s")
	ctx := open(t)
	failed := `Number(document.getElementById("now-failed").textContent)`
	do(t, ctx, "explore", chromedp.EmulateViewport(390, 900), chromedp.Navigate(url),
		chromedp.Click(`#rungs button[data-name="failure"]`, chromedp.NodeVisible),
		chromedp.Poll(failed+" > 30", nil, chromedp.WithPollingTimeout(20*time.Second)))
	// By the keyboard alone: the switch, and then a fault.
	do(t, ctx, "switch", chromedp.Focus("#with"), chromedp.KeyEvent(" "),
		chromedp.Poll(`document.getElementById("with").getAttribute("aria-pressed") === "true" && `+failed+" < 30", nil, chromedp.WithPollingTimeout(30*time.Second)))
	var story string
	do(t, ctx, "story", chromedp.Text("#story", &story))
	if !strings.Contains(story, "package lb") {
		t.Errorf("the story is %q", story)
	}
	do(t, ctx, "fault", chromedp.Focus(`#faults button[data-name="fail"]`), chromedp.KeyEvent("\r"),
		chromedp.WaitVisible(`#faults button[data-name="fail"][aria-pressed="true"]`))
	do(t, ctx, "stop", chromedp.Click("#stop"), chromedp.Poll(`document.getElementById("what").textContent === "Nothing runs."`, nil))
}
