// What lives in the page and in the process both, when a kernel is parked and comes back:
// after a restart JupyterLab makes it anew, and of a return it is told nothing.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { labReady, newNotebook, output, outputOf, run } from './lab.mjs';
import { closeBrowser, hubURL, kernelOf, kernelPods, parkedKernelOf, picture, reset, signIn, startServer, until } from './stack.mjs';

const user = 'researcher';
let page;

before(async () => {
  page = await signIn(user); // the Hub knows its users from their first login
  await startServer(user);
  await page.goto(`${hubURL}/user/${user}/lab`);
  await labReady(page);
});

after(async () => {
  await page?.context().close();
  await reset(user).catch((error) => console.error(error.message));
  await closeBrowser();
});

const kernel = () => kernelOf(user);
const parked = () => parkedKernelOf(user);
const gone = () => until('its Pod is gone', async () => (await kernelPods()).length === 0, { seconds: 60 });

describe('a notebook with the debugger on, a widget and the console of a subshell', () => {
  const stopping = 'one = len(chosen)\ntwo = one + 1\nprint("two is", two)';
  const button = 'def button(text):\n    import ipywidgets as w\n    press, out = w.Button(description="press"), w.Output()\n'
    + '    press.on_click(lambda _: out.append_stdout(text))\n    display(press, out)';
  const press = async (cell, text) => {
    await cell.locator('button.jupyter-button').click();
    await until('the kernel hears of it', async () => (await cell.innerText()).includes(text), { seconds: 30 });
  };
  const inConsole = async (code, pattern) => {
    await page.locator('.jp-CodeConsole-promptCell .cm-content').click();
    await page.keyboard.insertText(code);
    await page.keyboard.press('Shift+Enter');
    await output(page.locator('.jp-CodeConsole-content .jp-CodeCell').last(), pattern, 60);
  };

  it('sets a breakpoint', async () => {
    await newNotebook(page, 'Python 3 (CPU)');
    await output(await run(page, `${button}\nchosen = [1]; print("made", len(chosen))`), /made 1/, 90);
    const shown = await run(page, 'button("heard before")');
    await shown.locator('button.jupyter-button').waitFor({ timeout: 60_000 });
    await press(shown, 'heard before');
    await page.locator('.jp-NotebookPanel:visible .jp-CodeCell').last().click({ button: 'right' });
    await page.locator('.lm-Menu-itemLabel', { hasText: 'New Subshell Console for Notebook' }).click();
    await page.locator('.jp-CodeConsole-banner', { hasText: 'Python' }).waitFor({ timeout: 60_000 }); // before it, nothing is run
    await inConsole('import threading; print("beside", threading.current_thread() is threading.main_thread())', /beside False/);
    await page.locator('.jp-NotebookPanel .jp-CodeCell').last().locator('.cm-content').click();
    await page.keyboard.insertText(stopping);
    await page.locator('.jp-NotebookPanel .jp-DebuggerBugButton').click();
    await page.locator('.jp-NotebookPanel[data-jp-debugger="true"]').waitFor({ timeout: 60_000 });
    const cell = page.locator('.jp-NotebookPanel .jp-CodeCell').last();
    await cell.locator('.cm-breakpoint-gutter .cm-gutterElement').nth(2).click(); // the first is a spacer
    await cell.locator('.cm-breakpoint-icon:visible').waitFor({ timeout: 30_000 });
    const k = await parked();
    assert.equal(k.status.kept.outcome, 'whole', k.status.kept.lost?.join());
    await gone();
  });

  it('stops at it when the kernel is back, and goes on', async () => {
    const cell = page.locator('.jp-NotebookPanel .jp-CodeCell').last();
    await cell.locator('.cm-content').click();
    await page.keyboard.press('Control+Enter');
    await cell.locator('.jp-DebuggerEditor-highlight').waitFor({ timeout: 90_000 });
    assert.doesNotMatch(await outputOf(cell), /two is|not set/);
    await picture(page, 'keep-breakpoint');
    await page.keyboard.press('F9');
    assert.match(await output(cell, /two is 2/), /Kernel is back with all \d+ variables/);
  });

  it('hears of a new widget, and the console goes on beside the cells', async () => {
    await page.locator('.jp-NotebookPanel .jp-CodeCell').last().locator('.cm-content').click();
    await page.keyboard.press('Escape');
    await page.keyboard.press('b'); // a cell below: this one would stop again
    const shown = await run(page, 'button("heard after")');
    await shown.locator('button.jupyter-button').waitFor({ timeout: 60_000 });
    await press(shown, 'heard after');
    await inConsole('print("still beside", threading.current_thread() is threading.main_thread())', /still beside False/);
  });
});
