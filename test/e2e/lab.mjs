// JupyterLab as a person drives it.
import assert from 'node:assert/strict';
import { until } from './browser.mjs';

/** Waits for the launcher of a freshly opened JupyterLab. */
export async function labReady(page) {
  await page.waitForSelector('#jupyterlab-splash', { state: 'detached', timeout: 60_000 }).catch(() => {});
  await page.locator('.jp-Launcher:visible, .jp-Notebook:visible').first().waitFor({ timeout: 60_000 });
}

/** Opens a new notebook with the kernel of that display name. */
export async function newNotebook(page, kernel) {
  if (!(await page.locator('.jp-Launcher:visible').count())) {
    await page.locator('[data-command="launcher:create"]').first().click();
  }
  const card = page.locator(`.jp-LauncherCard[data-category="Notebook"][title*="${kernel}"]:visible`).first();
  await card.waitFor({ timeout: 30_000 });
  const before = await page.locator('.jp-NotebookPanel').count();
  // The status bar may speak for a while of the notebook that was in front.
  const session = page.waitForResponse((r) => r.request().method() === 'POST' && /\/api\/sessions\b/.test(r.url()), { timeout: 60_000 });
  await card.click();
  await until('a notebook opens', async () => (await page.locator('.jp-NotebookPanel').count()) > before);
  await session;
  await connected(page);
}

/** Waits until the notebook in front has a session: JupyterLab drops a cell that is run before, without a word. */
export async function connected(page) {
  await page.locator('.jp-NotebookPanel:visible .jp-Cell').first().waitFor();
  await until('the notebook has a session', async () =>
    /\| (Idle|Busy|Connecting|Starting|Restarting)/.test(await page.locator('#jp-main-statusbar').innerText()));
}

const panel = (page) => page.locator('.jp-NotebookPanel:visible');

/** Puts code in a new last cell, runs it, and returns the cell. It does not wait for output. */
export async function run(page, code) {
  const cells = panel(page).locator('.jp-CodeCell');
  const last = cells.last();
  await last.locator('.cm-content').click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(code);
  const index = (await cells.count()) - 1;
  await page.keyboard.press('Shift+Enter');
  return cells.nth(index);
}

/** Saves the notebook in front, under the name that it has. */
export async function save(page) {
  await page.keyboard.press('Control+S');
  const named = page.locator('.jp-Dialog button.jp-mod-accept'); // asked once of a notebook without a name of its own
  await named.waitFor({ timeout: 2_000 }).then(() => named.click(), () => {});
  await until('the notebook is saved', async () => !(await page.locator('.lm-DockPanel-tabBar .lm-mod-current.jp-mod-dirty').count()));
}

/** The text of a cell's output now. */
export const outputOf = async (cell) => (await cell.locator('.jp-OutputArea-output').allInnerTexts()).join('\n');

/** Waits until a cell's output matches and returns it. */
export async function output(cell, pattern, seconds = 60) {
  return until(`the cell's output matches ${pattern}`, async () => {
    const text = await outputOf(cell);
    if (!pattern.test(text)) throw new Error(text || 'it has none');
    return text;
  }, { seconds });
}

/** Runs a command of JupyterLab's kernel menu, e.g. "Interrupt Kernel". */
export async function kernelMenu(page, item) {
  await page.locator('.lm-MenuBar-itemLabel', { hasText: /^Kernel$/ }).click();
  await page.locator('.lm-Menu-itemLabel', { hasText: item }).first().click();
}

/** Confirms the dialog that is open, by its accept button. */
export async function accept(page) {
  await page.locator('.jp-Dialog button.jp-mod-accept').click();
}

/** A code cell of the notebook in front. */
export const cell = (page, index) => panel(page).locator('.jp-CodeCell').nth(index);

/** What all code cells have beside them: [*]:, [3]: or [ ]:. */
export const prompts = (page) => panel(page).locator('.jp-CodeCell .jp-InputPrompt').allTextContents();

/** The lines in a cell's streams. */
export const lines = async (page, index) =>
  (await cell(page, index).locator('.jp-OutputArea-output pre').allTextContents()).join('').split('\n').filter(Boolean);

/** Edits a cell, the second if no other is named, saves, and fails if JupyterLab asks about a file that has changed. */
export async function edit(page, words, index = 1) {
  await cell(page, index).locator('.cm-content').click();
  await page.keyboard.press('Control+End');
  await page.keyboard.insertText(`\n# ${words}`);
  const saved = page.waitForResponse((r) => r.request().method() === 'PUT' && r.url().includes('/api/contents/'), { timeout: 20_000 });
  await page.locator('.jp-NotebookPanel:visible').press('Control+S');
  const dialog = page.locator('.jp-Dialog:visible').waitFor({ timeout: 20_000 }).then(async () => {
    throw new Error(`JupyterLab asks: ${await page.locator('.jp-Dialog:visible').innerText()}`);
  }, () => undefined);
  assert.equal((await Promise.race([saved, dialog]))?.status(), 200);
}

/** The lines in a cell's streams once there are so many: JupyterLab draws a cell after the other. */
export async function enough(page, index, count) {
  await until(`cell ${index} shows ${count} lines`, async () => (await lines(page, index)).length >= count, { seconds: 30 });
  return lines(page, index);
}
