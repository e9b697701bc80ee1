# The state of an R kernel as one stream, and back: docs/parking-format.md has the frames.
#
# It is read into an environment of its own, the option elastichub.keep. begin, busy, save and load are called by silent
# requests; each writes a JSON document, a line, to the path that is its first argument.
#
# Only environments are shared in R. So a variable that holds none is a record of its own, and
# all others are one, in which what is shared stays shared. What cannot be kept are connections
# and pointers into the process. The binding that holds one is lost: a variable, or one in an
# environment. Its place is taken by a binding that raises an error when it is used.

FORMAT <- 1L
PIECE <- 4194304L
NAMED <- 100L

began <- NULL

begin <- function(answer) {
  if (is.null(began)) {
    began <<- list(options = options(), environ = Sys.getenv(), search = search(),
                    variables = as.list(globalenv(), all.names = TRUE)) # of the kernel itself
  }
  tell(answer, list(format = FORMAT, R = version()))
}

busy <- function(answer) {
  tell(answer, list(background = lapply(children(), function(pid) list(kind = "process", name = pid))))
}

version <- function() paste(R.version$major, R.version$minor, sep = ".")

# Processes that this one has started and that have not ended.
children <- function() {
  found <- list()
  for (stat in Sys.glob("/proc/[0-9]*/stat")) {
    line <- tryCatch(suppressWarnings(readLines(stat, 1L)), error = function(e) character())
    fields <- strsplit(sub("^.*\\) ", "", line), " ", fixed = TRUE)
    if (length(fields) && identical(fields[[1L]][2L], as.character(Sys.getpid())) && fields[[1L]][1L] != "Z") {
      found <- c(found, basename(dirname(stat)))
    }
  }
  found
}

tell <- function(answer, document) {
  out <- file(answer, "wb")
  on.exit(close(out))
  writeBin(charToRaw(paste0(json(document), "\n")), out)
}

json <- function(x) as.character(jsonlite::toJSON(x, auto_unbox = TRUE, null = "null", digits = NA))

# -- saving

save <- function(answer, path, seconds = Inf, max_bytes = Inf) {
  start <- proc.time()[["elapsed"]]
  report <- list(format = FORMAT, outcome = "saved")
  out <- NULL
  written <- 0
  frame <- function(letter, content = raw()) {
    if (proc.time()[["elapsed"]] - start > seconds) stop(stopped("deadline"))
    written <<- written + 9 + length(content)
    if (written > max_bytes) stop(stopped("too large"))
    writeBin(c(charToRaw(letter), writeBin(c(length(content), 0L), raw(), endian = "little")), out)
    writeBin(content, out)
  }
  record <- function(about, value) {
    frame("R", charToRaw(json(about)))
    content <- serialize(value, NULL, xdr = FALSE)
    at <- 0
    while (at < length(content)) {
      size <- min(PIECE, length(content) - at)
      frame(if (size >= 1048576) "B" else "P", content[at + seq_len(size)])
      at <- at + size
    }
    frame("E")
  }
  outcome <- tryCatch({
    out <- file(path, "wb")
    state <- variables()
    names <- names(state$kept)
    alone <- !vapply(state$kept, has_environment, logical(1L))
    around <- surroundings()
    state_lost <- lapply(around$lost_options, function(name) {
      list(name = paste("option", name), type = type_of(getOption(name)), why = unkept(getOption(name)))
    })
    shared <- list(variables = state$kept[!alone], surroundings = around, active = state$active,
                   locked = state$locked)
    frame("H", charToRaw(json(list(format = FORMAT, language = "R", R = version(), variables = length(names),
                                   records = sum(alone) + 1L))))
    number <- 0L
    for (name in names[alone]) {
      record(list(i = number, k = "variable", n = name, t = type_of(state$kept[[name]])), state$kept[[name]])
      number <- number + 1L
    }
    record(list(i = number, k = "last", n = "", t = "list"), shared)
    visible <- of_user(c(names, names(state$active)))
    report <- c(report, list(
      whole = !length(c(state$lost, state$holes, state_lost)),
      variables = length(visible), lost = state$lost, holes = state$holes, again = list(), skipped = state$skipped,
      still_lost = state$still, state_lost = state_lost, background = list()
    ))
    facts <- lapply(state$kept[visible %in% names], fact)
    frame("Z", charToRaw(json(c(report, list(facts = facts)))))
    close(out)
    out <- NULL
    report
  }, interrupt = function(e) list(outcome = "interrupted"),
  elastichub_stopped = function(e) list(outcome = conditionMessage(e)),
  error = function(e) list(outcome = "failed", error = conditionMessage(e)))
  if (!is.null(out)) try(close(out), silent = TRUE)
  outcome$bytes <- written
  finish(answer, outcome, start)
}

finish <- function(answer, report, start) {
  report$seconds <- round(proc.time()[["elapsed"]] - start, 3)
  for (key in c("lost", "holes", "skipped", "still_lost")) {
    if (length(report[[key]]) > NAMED) {
      report[[key]] <- c(report[[key]][seq_len(NAMED)], list(list(more = length(report[[key]]) - NAMED)))
    }
  }
  tell(answer, report)
}

stopped <- function(outcome) {
  structure(class = c("elastichub_stopped", "condition"), list(message = outcome, call = NULL))
}

# Without what R keeps in the user's place: the state of random numbers, definitions of classes.
of_user <- function(names) {
  grep("^(\\.Random\\.seed$|\\.requireCachedGenerics$|\\.__)", names, value = TRUE, invert = TRUE)
}

type_of <- function(x) class(x)[[1L]]

fact <- function(x) list(class = I(as.character(class(x))), type = typeof(x), length = length(x))

# The user's variables: those that are kept, and what is told of the others.
variables <- function() {
  global <- globalenv()
  found <- list(kept = list(), active = list(), locked = character(), lost = list(), holes = list(),
                skipped = list(), still = list())
  tell_of <- function(key, ...) found[[key]] <<- c(found[[key]], list(list(...)))
  skip <- get0("__elastichub_skip__", global, inherits = FALSE)
  for (name in ls(global, all.names = TRUE)) {
    if (bindingIsActive(name, global)) {
      maker <- activeBindingFunction(name, global)
      gone <- attr(maker, "elastichub_lost")
      if (is.null(gone)) found$active[[name]] <- maker else found$still <- c(found$still, list(gone))
      next
    }
    why <- NULL
    if (name %in% names(began$variables) && identical(get(name, global), began$variables[[name]])) next
    value <- tryCatch(get(name, global, inherits = FALSE), error = function(e) { # a promise
      why <<- conditionMessage(e)
      NULL
    })
    if (name %in% skip) {
      tell_of("skipped", name = name, type = type_of(value), why = "it was left out by __elastichub_skip__")
      next
    }
    if (is.null(why)) why <- unkept(value)
    if (!is.null(why)) {
      tell_of("lost", name = name, type = type_of(value), why = why)
      next
    }
    found$kept[name] <- list(value)
    if (bindingIsLocked(name, global)) found$locked <- c(found$locked, name)
    each_binding(value, function(inner, place, within) {
      why <- unkept(inner)
      if (!is.null(why)) tell_of("holes", name = name, type = type_of(inner), why = paste0("in ", place, ": ", why))
    })
  }
  found
}

# What is no variable, as it has been changed since the beginning.
surroundings <- function() {
  now <- options()
  now[c("elastichub.keep", "try.outFile")] <- NULL # where this is, and of the package evaluate while a cell runs
  changed <- now[!vapply(names(now), function(name) identical(now[[name]], began$options[[name]]), NA)]
  environ <- Sys.getenv()
  places <- setdiff(search(), began$search)
  attached <- places[!startsWith(places, "package:")]
  list(
    options = Filter(function(each) is.null(unkept(each)), changed),
    lost_options = names(Filter(function(each) !is.null(unkept(each)), changed)),
    unset_options = setdiff(names(began$options), c(names(now), "elastichub.keep", "try.outFile")),
    environ = environ[!(names(environ) %in% names(began$environ)) | environ != began$environ[names(environ)]],
    unset_environ = setdiff(names(began$environ), names(environ)),
    wd = getwd(), search = places,
    attached = sapply(attached, function(name) as.list(as.environment(name), all.names = TRUE), simplify = FALSE),
    count = executor()$execution_count
  )
}

# What carries out this request, for the number of cells that it counts.
executor <- function() {
  for (frame in sys.frames()) {
    self <- get0(".self", frame)
    if (methods::is(self, "Executor") && exists("execution_count", as.environment(self))) return(self)
  }
  NULL
}

# Attributes of plain data, which hold nothing that is shared or bound to the process.
PLAIN <- c("names", "row.names", "dim", "dimnames", "levels", ".internal.selfref", "srcref", "class")

# Why a value cannot be kept, or NULL: what it holds itself, not by an environment.
unkept <- function(x) {
  if (of_methods(x)) return(NULL)
  if (inherits(x, "connection") && is.integer(unclass(x)[1L]) && unclass(x)[1L] > 2L) {
    return("it is bound to a process that is gone")
  }
  if (typeof(x) %in% c("externalptr", "weakref")) return("it points into a process that is gone")
  for (each in attributes(x)[setdiff(names(attributes(x)), c(PLAIN, "conn_id"))]) {
    why <- unkept(each)
    if (!is.null(why)) return(why)
  }
  if (typeof(x) %in% c("list", "pairlist", "expression")) {
    for (each in as.list(unclass(x))) {
      why <- unkept(each)
      if (!is.null(why)) return(paste0("its ", type_of(each), ": ", sub("^its [^:]*: ", "", why)))
    }
  }
  NULL
}

# Definitions of classes and methods have pointers of their own, which R makes again.
of_methods <- function(x) isS4(x) && identical(attr(class(x), "package"), "methods")

has_environment <- function(x) {
  found <- FALSE
  walk(x, function(environment) found <<- TRUE, deep = FALSE)
  found
}

# Calls look with every binding in environments that are reached from a value.
each_binding <- function(x, look) {
  walk(x, function(environment) {
    for (name in ls(environment, all.names = TRUE)) {
      if (!bindingIsActive(name, environment)) {
        look(tryCatch(get(name, environment, inherits = FALSE), error = function(e) NULL), name, environment)
      }
    }
  })
}

# Calls visit once with every environment that is reached from a value, but for those of
# packages and the user's own. deep: also with those that are reached from these.
walk <- function(x, visit, deep = TRUE) {
  seen <- utils::hashtab("identical")
  go <- function(x) {
    kind <- typeof(x)
    if (of_methods(x)) {
      if (!deep) visit(x)
      return(invisible())
    }
    if (kind == "environment") {
      if (is_library(x) || !is.null(utils::gethash(seen, x))) return(invisible())
      utils::sethash(seen, x, TRUE)
      visit(x)
      if (!deep) return(invisible())
      go(parent.env(x))
      for (name in ls(x, all.names = TRUE)) {
        if (!bindingIsActive(name, x)) go(tryCatch(get(name, x, inherits = FALSE), error = function(e) NULL))
      }
    } else if (kind == "closure") {
      go(environment(x))
    } else if (kind %in% c("list", "pairlist", "expression")) {
      for (each in as.list(unclass(x))) if (!is.atomic(each) || !is.null(attributes(each))) go(each)
    }
    for (each in attributes(x)[setdiff(names(attributes(x)), PLAIN)]) go(each)
    invisible()
  }
  go(x)
}

is_library <- function(x) {
  identical(x, globalenv()) || identical(x, baseenv()) || identical(x, emptyenv()) || isNamespace(x) ||
    !is.null(attr(x, "name")) || identical(x, environment(is_library))
}

# -- loading

load <- function(answer, path, without = integer(), progress = NULL) {
  start <- proc.time()[["elapsed"]]
  input <- told <- NULL
  bytes <- 0
  frame <- function() {
    head <- piece(9L)
    size <- readBin(head[2:9], "integer", 2L, endian = "little")
    list(letter = rawToChar(head[1L]), content = piece((size[1L] %% 4294967296) + size[2L] * 4294967296))
  }
  piece <- function(size) {
    content <- readBin(input, "raw", size)
    if (length(content) != size) stop("the snapshot ends early")
    bytes <<- bytes + size
    content
  }
  document <- function(frame) jsonlite::fromJSON(rawToChar(frame$content), simplifyVector = FALSE)
  report <- tryCatch({
    input <- file(path, "rb", raw = TRUE)
    if (!is.null(progress)) told <- file(progress, "wb")
    header <- document(frame())
    if (!identical(header$format, FORMAT) || !identical(header$language, "R")) {
      stop(stopped("it is no snapshot of R in a format that is known"))
    }
    made <- list()
    failed <- list()
    shared <- NULL
    repeat {
      head <- frame()
      if (head$letter == "Z") break
      about <- document(head)
      pieces <- list()
      repeat {
        inner <- frame()
        if (inner$letter %in% c("E", "X")) break
        pieces <- c(pieces, list(inner$content))
      }
      if (inner$letter == "X") next
      if (!is.null(told)) {
        writeBin(c(head$content, charToRaw("\n")), told)
        flush(told)
      }
      why <- if (about$i %in% without) "making it again ended the process"
      if (is.null(why)) {
        value <- tryCatch(unserialize(do.call(c, pieces)), error = function(e) {
          why <<- conditionMessage(e)
          NULL
        })
      }
      if (!is.null(why)) {
        failed <- c(failed, list(list(name = about$n, type = about$t, why = why)))
      } else if (about$k == "variable") {
        made[about$n] <- list(value)
      } else {
        shared <- value
      }
    }
    saved <- document(head)
    made <- c(made, shared$variables)
    notes <- restore(made, shared)
    for (gone in c(saved$lost, saved$skipped, saved$still_lost, Filter(function(f) nzchar(f$name), failed))) {
      lose(gone$name, globalenv(), gone)
    }
    both <- intersect(names(saved$facts), names(made))
    changed <- Filter(function(name) !same(saved$facts[[name]], fact(made[[name]])), both)
    list(outcome = "loaded", variables = length(of_user(c(names(made), names(shared$active)))),
         lost = saved$lost, holes = saved$holes, skipped = saved$skipped, still_lost = saved$still_lost, again = list(),
         failed = failed, notes = notes, changed = lapply(changed, function(name) list(name = name)))
  }, interrupt = function(e) list(outcome = "interrupted"),
  elastichub_stopped = function(e) list(outcome = "broken", error = conditionMessage(e)),
  error = function(e) list(outcome = "broken", error = conditionMessage(e)))
  for (each in list(input, told)) if (!is.null(each)) try(close(each), silent = TRUE)
  report$bytes <- bytes
  finish(answer, report, start)
}

same <- function(before, now) identical(lapply(before, unlist), lapply(now, function(each) unlist(unclass(each))))

# Puts everything into its place. Random numbers come last: packages may draw some.
restore <- function(made, shared) {
  notes <- list()
  attempt <- function(what, do) {
    tryCatch(suppressWarnings(suppressMessages(do)), error = function(e) {
      notes <<- c(notes, list(paste0(what, ": ", conditionMessage(e))))
    })
  }
  around <- shared$surroundings
  if (!is.null(around$wd)) attempt("working directory", setwd(around$wd))
  if (length(around$environ)) do.call(Sys.setenv, as.list(around$environ))
  if (length(around$unset_environ)) Sys.unsetenv(around$unset_environ)
  for (place in rev(around$search)) {
    if (startsWith(place, "package:")) {
      attempt(place, library(sub("package:", "", place), character.only = TRUE))
    } else {
      attempt(place, attach(around$attached[[place]], name = place, warn.conflicts = FALSE))
    }
  }
  attempt("options", options(around$options))
  for (name in around$unset_options) attempt(name, do.call(options, stats::setNames(list(NULL), name)))
  for (name in names(made)) {
    assign(name, made[[name]], globalenv())
    if (name %in% shared$locked) lockBinding(name, globalenv())
  }
  each_binding(made, function(inner, name, within) {
    why <- unkept(inner)
    if (!is.null(why)) {
      attempt(name, {
        if (bindingIsLocked(name, within)) unlockBinding(name, within)
        lose(name, within, list(name = name, type = type_of(inner), why = why))
      })
    }
  })
  for (name in names(shared$active)) makeActiveBinding(name, shared$active[[name]], globalenv())
  attempt("methods", methods::cacheMetaData(1, TRUE, searchWhere = globalenv()))
  if (!is.null(around$count)) {
    attempt("number of cells", assign("execution_count", around$count, as.environment(executor())))
  }
  notes
}

# Has every use of a name raise an error that says what is gone, until it is assigned anew.
lose <- function(name, where, gone) {
  if (exists(name, where, inherits = FALSE)) rm(list = name, envir = where)
  maker <- function(value) {
    if (missing(value)) {
      stop(sprintf("this %s could not be kept while the kernel was parked (%s); run the cell that makes it again",
                   gone$type, gone$why), call. = FALSE)
    }
    rm(list = name, envir = where)
    assign(name, value, envir = where)
  }
  attr(maker, "elastichub_lost") <- gone
  makeActiveBinding(name, maker, where)
}
