package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/pythontest"
)

// missing skips a test, or fails it with CI=true.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s: %v", what, err)
	}
	t.Skipf("no %s: %v", what, err)
}

// irkernel is the argv of a kernel of R, which test/unit.sh installs.
func irkernel(t *testing.T) []string {
	t.Helper()
	if err := exec.Command("R", "--slave", "-e", "library(IRkernel)").Run(); err != nil {
		missing(t, "R with IRkernel", err)
	}
	return []string{"R", "--slave", "-e", "IRkernel::main()", "--args", protocol.ConnectionFile}
}

func bashkernel(t *testing.T) []string {
	t.Helper()
	python, err := pythontest.Environment("bash-kernel", "import bash_kernel", "bash_kernel==0.10.*", "ipykernel==7.*")
	if err != nil {
		missing(t, "bash_kernel", err)
	}
	return []string{"env", "HOME=" + t.TempDir(), python, "-m", "bash_kernel", "-f", protocol.ConnectionFile}
}

// startLanguage starts a run of a kernel of another language, as startKept does.
func startLanguage(t *testing.T, home string, argv []string, run int64, change func(*agent.Config)) *running {
	t.Helper()
	files, err := filepath.Abs("keep/adapters")
	require.NoError(t, err)
	return startInHome(t, home, argv, kept(t, run, func(c *agent.Config) {
		c.Keep.Files = files
		if change != nil {
			change(c)
		}
	}))
}

// quiet are messages that clients see of requests that are not theirs: none.
func quiet(t *testing.T, seen []wire.Message) {
	t.Helper()
	for _, m := range seen {
		assert.NotContains(t, []string{wire.TypeStatus, wire.TypeExecuteInput, wire.TypeStream}, m.Type(), "%s %s", m.ParentHeader, m.Content)
	}
}

const rSetup = `set.seed(7); f <- function(y) y + g; g <- 5; .hidden <- 9; nothing <- NULL
e <- new.env(); e$n <- 1; e2 <- e; e$self <- e
make <- function() { n <- 0; list(inc = function() { n <<- n + 1; n }, get = function() n) }; cl <- make(); cl$inc()
A <- setRefClass("A", fields = list(v = "numeric"), methods = list(up = function() { v <<- v + 1 })); a <- A$new(v = 1); b <- a
setClass("P", representation(x = "numeric")); setMethod("show", "P", function(object) cat("a P of", object@x, "\n")); p <- new("P", x = 3)
m <- lm(mpg ~ wt, mtcars); df <- data.frame(a = 1:3, b = factor(c("x", "y", NA))); noise <- rnorm(300000)
library(stats4); attach(list(att = 11), name = "mine"); options(digits = 4, mine = "yes"); Sys.setenv(MINE = "set"); Sys.unsetenv("GONE")
makeActiveBinding("now", function() 42, globalenv()); fixed <- 1; lockBinding("fixed", globalenv())
dir.create("sub", showWarnings = FALSE); setwd("sub")
next_one <- { s <- .Random.seed; v <- runif(1); .Random.seed <- s; v }`

const rCheck = `g <- 50; e$n <- 7; cl$inc(); a$up(); p
cat(runif(1) == next_one, f(1), e2$n, identical(e$self, e2), cl$get(), b$v, is(p, "P"), .hidden, is.null(nothing), length(noise), "\n")
cat(round(predict(m, data.frame(wt = 3)), 1), levels(df$b), now, bindingIsLocked("fixed", globalenv()), att, "\n")
cat(getOption("digits"), getOption("mine"), basename(getwd()), Sys.getenv("MINE"), is.na(Sys.getenv("GONE", NA)), "package:stats4" %in% search(), "\n")`

const rChecked = "TRUE 51 7 TRUE 2 2 TRUE 9 TRUE 300000 \n21.3 x y 42 TRUE 11 \n4 yes sub set TRUE TRUE \n"

// TestVariablesOfRComeBack, over three runs, with what is no variable.
func TestVariablesOfRComeBack(t *testing.T) {
	t.Parallel()
	argv, home := irkernel(t), t.TempDir()
	r := startLanguage(t, home, argv, 1, nil)
	g := r.connect("s1")
	g.run(rSetup)
	last := r.state().LastActivity
	closed, seen := g.closed()
	assert.Equal(t, protocol.CloseEnded, closed.Code)
	quiet(t, seen)
	assert.Regexp(t, `^Kernel parked after 1 s without work\. All 20 variables are kept \(\d\.\d MB\)\. Run a cell to go on\.$`, r.parkedWith())
	assert.NotZero(t, last)
	assert.Equal(t, protocol.KeptWhole, r.result.Kept.Outcome)

	r = startLanguage(t, home, argv, 2, nil)
	r.connect("s1").result(r.gateways[0].execute("invisible(1)"))
	r.parkedWith()

	r = startLanguage(t, home, argv, 3, nil)
	g = r.connect("s1")
	back := g.result(g.execute(rCheck))
	require.Equal(t, "ok", back.status(), "%s", describe(back.all))
	assert.True(t, strings.HasSuffix(back.stdout, rChecked), "%s", back.stdout)
	require.NotEmpty(t, back.notices())
	assert.Regexp(t, `^Kernel is back with all 20 variables( \(\d+\.\d s\))?\.$`, back.notices()[0])
	assert.Regexp(t, `"execution_count": ?3\b`, string(back.reply.Content))
	assert.NotContains(t, g.run("cat(ls(all.names = TRUE), search())"), "elastichub")
}

// TestWhatIsLostOfR is named, and its use says so; what holds it keeps the rest.
func TestWhatIsLostOfR(t *testing.T) {
	t.Parallel()
	argv, home := irkernel(t), t.TempDir()
	r := startLanguage(t, home, argv, 1, func(c *agent.Config) { c.IdleTimeout = 5 * time.Second })
	r.connect("s1").run(`con <- file(tempfile(), "w"); e <- new.env(); e$con <- con; e$n <- 3; left <- 1; x <- 4
` + "`__elastichub_skip__` <- \"left\"")
	message := r.parkedWith()
	assert.Contains(t, message, "Kernel parked after 5 s without work. ")
	assert.Contains(t, message, "Not kept: `con` (file: it is bound to a process that is gone), `e` (file: in con: it is bound to a process that is gone). Left out, as you wished: `left`.")

	r = startLanguage(t, home, argv, 2, nil)
	g := r.connect("s1")
	back := g.result(g.execute(`cat(e$n, x, "\n"); for (use in list(quote(con), quote(e$con), quote(left))) tryCatch(print(eval(use)), error = function(e) cat(conditionMessage(e), "\n"))`))
	assert.Equal(t, "3 4 \n"+strings.Repeat("this file could not be kept while the kernel was parked (it is bound to a process that is gone); run the cell that makes it again \n", 2)+
		"this numeric could not be kept while the kernel was parked (it was left out by __elastichub_skip__); run the cell that makes it again \n", back.stdout)
	require.NotEmpty(t, back.notices())
	assert.Contains(t, back.notices()[0], "Not back: `con` (file: it is bound to a process that is gone), `e` (file: in con: ")
	assert.Equal(t, "9", g.run("con <- 9; cat(con)"))
}

// TestACellInterruptsASaveOfR: it runs, and the kernel is unharmed.
func TestACellInterruptsASaveOfR(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	mark := filepath.Join(t.TempDir(), "saving")
	r := startLanguage(t, home, irkernel(t), 1, nil)
	g := r.connect("s1")
	g.run(strings.ReplaceAll(`x <- 5; delayedAssign("slow", { file.create("MARK"); Sys.sleep(60); 1 })`, "MARK", mark))
	require.Eventually(t, func() bool { _, err := os.Stat(mark); return err == nil }, patience, 5*time.Millisecond)
	cell := g.result(g.execute(`rm(slow); cat(x)`))
	assert.Equal(t, "ok", cell.status())
	assert.Equal(t, "5", cell.stdout)
	assert.NoFileExists(t, snapshot(home))
	assert.Contains(t, r.parkedWith(), "Its one variable is kept")
}

const bashSetup = `x=1; arr=(a "b c" $'d\ne'); declare -A m=([k]="v w" [z]=2); declare -i n=5; declare -r ro=7; export EX="a b"; u=$'ß\001"\\'
f() { local q=$1; echo "f $q $x"; }; here() { cat <<XX
in here $x
XX
}; export -f here; alias ll="ls -l"; alias printf=oops; declare -n ref=x; set -- one "two three"; IFS=,
shopt -s extglob nullglob; set -o noclobber; set -u; umask 027; trap 'echo caught' USR1; mkdir -p sub "other place"; cd sub; pushd "../other place" >/dev/null; unset GONE; FOO=changed`

const bashCheck = `\printf '%s|' "$x" "${#arr[@]}" "${arr[2]@Q}" "${m[k]}" "$ro" "$(printenv EX)" "${u@Q}" "$(f 1)" "$(here)" "$(alias ll)" "$#" "$2" "$FOO" "${IFS@Q}" "${GONE-unset}" "$(umask)"; echo
n=2+3; x=6; echo $n $ref $(shopt extglob) $(set -o | grep -E 'noclobber|nounset') ${PWD##*/} $(dirs | wc -w) $(bash -c here)
kill -USR1 $$; (ro=8) 2>/dev/null || echo readonly; declare -p | grep -c __e; history | grep -c "keep[.]sh"; :`

const bashChecked = `1|3|$'d\ne'|v w|7|a b|$'ß\001"\\'|f 1 1|in here 1|alias ll='ls -l'|2|two three|changed|','|unset|0027|` + "\n" +
	"5 6 extglob        \ton noclobber      \ton\nnounset        \ton other place 3 in here \ncaught\nreadonly\n0\n0\n"

// TestVariablesOfBashComeBack, over three runs, with functions, aliases and options.
func TestVariablesOfBashComeBack(t *testing.T) {
	t.Parallel()
	argv, home := bashkernel(t), t.TempDir()
	r := startLanguage(t, home, argv, 1, nil)
	g := r.connect("s1")
	g.run("GONE=1; FOO=start; :")
	g.run(bashSetup)
	_, seen := g.closed()
	quiet(t, seen)
	assert.Regexp(t, `^Kernel parked after 1 s without work\. All \d+ variables are kept \(\d+ KB\)\. Run a cell to go on\.$`, r.parkedWith())
	assert.Equal(t, protocol.KeptWhole, r.result.Kept.Outcome)

	r = startLanguage(t, home, argv, 2, nil)
	r.connect("s1").run(":")
	r.parkedWith()

	r = startLanguage(t, home, argv, 3, nil)
	g = r.connect("s1")
	back := g.result(g.execute(bashCheck))
	require.Equal(t, "ok", back.status(), "%s", describe(back.all))
	assert.Equal(t, bashChecked, back.stdout)
	require.NotEmpty(t, back.notices())
	assert.Regexp(t, `^Kernel is back with all \d+ variables( \(\d+\.\d s\))?\.$`, back.notices()[0])
}

// TestWhatIsLostOfBash are descriptors; with a job it is not parked early.
func TestWhatIsLostOfBash(t *testing.T) {
	t.Parallel()
	argv, home := bashkernel(t), t.TempDir()
	r := startLanguage(t, home, argv, 1, func(c *agent.Config) { c.IdleTimeout = 6 * time.Second })
	begun := time.Now()
	r.connect("s1").run("exec 9>$(mktemp); x=5; left=1; __elastichub_skip__=(left); sleep 60 & :")
	message := r.parkedWith()
	assert.GreaterOrEqual(t, time.Since(begun), 6*time.Second)
	assert.Contains(t, message, "`9` (descriptor: it is open in a process that is gone: ")
	assert.Contains(t, message, "(process: it is a child of a process that is gone). Left out, as you wished: `left`.")

	r = startLanguage(t, home, argv, 2, nil)
	assert.Equal(t, "5 none\n", r.connect("s1").run("echo $x ${left-none}"))
}
