package netboot

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"imgbuild/protocol"
)

// browser is a real one, and what it complained of.
type browser struct {
	ctx context.Context
	mu  sync.Mutex
	bad []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil || os.Getenv("IMGBUILD_TEST_ROOT") == "" {
		t.Skip("looks at the page in Chromium: set IMGBUILD_TEST_ROOT=1 where there is one")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.WindowSize(1200, 800))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.bad = append(b.bad, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError {
				b.bad = append(b.bad, e.Entry.Text+" "+e.Entry.URL)
			}
		}
	})
	return b
}

func (b *browser) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	require.NoError(t, chromedp.Run(b.ctx, actions...))
}

// shows waits until an element has a text.
func (b *browser) shows(t *testing.T, selector, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var got string
		if err := chromedp.Run(b.ctx, chromedp.Text(selector, &got, chromedp.ByQuery)); err != nil {
			return false
		}
		return strings.Contains(got, text)
	}, 20*time.Second, 100*time.Millisecond, "%s never shows %q", selector, text)
}

func (b *browser) eval(t *testing.T, script string) (value string) {
	t.Helper()
	b.run(t, chromedp.Evaluate("String("+script+")", &value))
	return value
}

func TestThePage(t *testing.T) {
	w := newBrowser(t)
	b := newBench(t)
	w.run(t, chromedp.Navigate(b.secure.URL+"/login?token=look"))
	w.shows(t, "#summary", "0 of 2 nodes are ready")
	assert.NotContains(t, w.eval(t, "location.href"), "token")
	w.shows(t, "#nodes tr:nth-child(2) th", "worker-1")
	w.shows(t, "#nodes tr:nth-child(2) .badge", "Waiting")
	assert.Equal(t, "true", w.eval(t, `document.querySelector("#alarms").hidden`))

	nonce := b.nonce("worker-1")
	b.get("/boot/52-54-00-77-00-31.ipxe")
	b.ask("GET", "/v1/nodes/worker-1/order", nonce, nil)
	b.ask("POST", "/v1/nodes/worker-1/install", nonce, protocol.Progress{Step: protocol.StepWriting, Bytes: 250e6, Total: 1000e6})
	w.shows(t, "#nodes tr:nth-child(2) .badge", "Installing")
	w.shows(t, "#nodes tr:nth-child(2) .line", "25 % of 1000 MB")
	assert.Equal(t, "0.25 worker-1: image", w.eval(t, `(p => p.value + " " + p.getAttribute("aria-label"))(document.querySelector("#nodes tr:nth-child(2) progress"))`))

	b.ask("POST", "/v1/nodes/worker-1/install", nonce, protocol.Progress{Step: protocol.StepRefused, Line: "/dev/sda holds <b>ext4</b>: it is left alone"})
	w.shows(t, "#nodes tr:nth-child(2) .badge", "Refused")
	w.shows(t, "#alarms ul", "worker-1: /dev/sda holds <b>ext4</b>")
	assert.Equal(t, "0", w.eval(t, `document.querySelectorAll("main b").length`), "what machines say is text")
	b.get("/boot/52-54-00-77-00-99.ipxe")
	w.shows(t, "#strangers ul", "52:54:00:77:00:99")

	b.install("master-1")
	b.ask("POST", "/v1/nodes/master-1/status", b.nonce("master-1"), protocol.AgentStatus{State: "running", Phase: "init", Phases: []protocol.AgentPhase{
		{Name: "identity", Done: true, Seconds: 0.2}, {Name: "init", Retries: 2},
	}})
	w.shows(t, "#nodes tr:nth-child(1) .line", "Phase init")
	b.keyboard(t, w)
	b.colours(t, w)

	assert.Empty(t, w.bad, "the browser has nothing to complain of")
	if file := os.Getenv("IMGBUILD_SCREENSHOT"); file != "" {
		var png []byte
		w.run(t, chromedp.FullScreenshot(&png, 100))
		require.NoError(t, os.WriteFile(file, png, 0o644))
	}
}

// keyboard reaches and opens everything without a mouse.
func (b *bench) keyboard(t *testing.T, w *browser) {
	t.Helper()
	for range 3 {
		w.run(t, chromedp.KeyEvent(kb.Tab))
		if w.eval(t, "document.activeElement.tagName") == "SUMMARY" {
			break
		}
	}
	assert.Equal(t, "Phases of master-1", w.eval(t, `document.activeElement.getAttribute("aria-label")`))
	w.run(t, chromedp.KeyEvent(kb.Enter))
	w.shows(t, "#nodes tr:nth-child(1) ol", "init: now, 2 retries")
	// News does not take the focus away.
	b.ask("POST", "/v1/nodes/master-1/status", b.nonce("master-1"), protocol.AgentStatus{State: "running", Phase: "api", Phases: []protocol.AgentPhase{{Name: "api"}}})
	w.shows(t, "#nodes tr:nth-child(1) ol", "api: now")
	assert.Equal(t, "Phases of master-1", w.eval(t, `document.activeElement.getAttribute("aria-label")`))
	for selector, want := range map[string]string{
		`document.querySelectorAll("thead th[scope=col]").length`:      "6",
		`document.querySelectorAll("tbody th[scope=row]").length`:      "2",
		`document.querySelector("#summary").getAttribute("aria-live")`: "polite",
		`document.documentElement.lang`:                                "en",
	} {
		assert.Equal(t, want, w.eval(t, selector), selector)
	}
}

// colours are readable in the light and in the dark: WCAG 2.2 wants 4.5 to 1.
func (b *bench) colours(t *testing.T, w *browser) {
	t.Helper()
	const ratio = `(() => {
		const light = (c) => { const v = c.match(/[\d.]+/g).slice(0, 3).map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
		const solid = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
		let worst = 99, where = "";
		for (const e of document.querySelectorAll("h1, h2, p, th, td, .badge, .line, li, summary")) {
			const [a, b] = [light(getComputedStyle(e).color), light(solid(e))].sort((x, y) => y - x);
			const r = (a + 0.05) / (b + 0.05);
			if (r < worst) { worst = r; where = e.tagName + "." + e.className; }
		}
		return worst < 4.5 ? worst + " at " + where : "readable";
	})()`
	seen := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		w.run(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		assert.Equal(t, "readable", w.eval(t, ratio), scheme)
		seen[w.eval(t, "getComputedStyle(document.body).backgroundColor")] = true
	}
	assert.Len(t, seen, 2, "light and dark differ")
}
