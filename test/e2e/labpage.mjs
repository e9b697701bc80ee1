// labpage.mjs SCENARIO: what JupyterLab's page does for documents that the server keeps, at a server
// that python/tests/test_lab.py has started. LAB_URL is its address, with a %s for what is opened, and LAB_HOME its directory.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { closeBrowser, openBrowser, picture, until } from './browser.mjs';
import { cell, connected, edit, enough, labReady, lines, prompts } from './lab.mjs';

const range = (n) => Array.from({ length: n }, (_, i) => `${i}`);
const desk = { width: 1280, height: 900 };
const phone = { width: 390, height: 844 };

/** A browser profile of its own with that notebook open. */
async function open(path = 'a.ipynb', viewport = desk) {
  const context = await (await openBrowser()).newContext({ viewport });
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(process.env.LAB_URL.replace('%s', path));
  await labReady(page);
  await connected(page);
  return page;
}

const close = (page) => page.context().close();
const kernelIs = (page, state) =>
  until(`the kernel is ${state}`, async () => (await page.locator('#jp-main-statusbar').innerText()).includes(`| ${state}`));
const isDirty = (page) => page.locator('.lm-TabBar-tab.lm-mod-current.jp-mod-dirty').count();
const toast = (page) => page.locator('.Toastify__toast', { hasText: 'a-outputs.ipynb' });

/** Lets the cell print so many lines in all. */
const upTo = (count) => writeFile(`${process.env.LAB_HOME}/upto.txt`, `${count}`);

/** Pictures of the page as it is, on a desk and on a phone, where one hides the list of files. */
async function pictures(page, name) {
  const still = () => page.evaluate(() => Promise.allSettled(
    document.getAnimations().filter((a) => Number.isFinite(a.effect.getComputedTiming().endTime)).map((a) => a.finished)));
  await still();
  await picture(page, name);
  await page.setViewportSize(phone);
  await page.keyboard.press('Control+B');
  await still();
  await picture(page, `${name}-phone`);
  await page.setViewportSize(desk);
  await page.keyboard.press('Control+B');
}

async function runIt(page, index = 0) {
  await cell(page, index).locator('.cm-content').click();
  await page.keyboard.press('Shift+Enter');
}

/** How many lines there are so far, each once and in order. */
async function inOrder(page, index) {
  const shown = await lines(page, index);
  assert.deepEqual(shown, range(shown.length));
  return shown.length;
}

const scenarios = {
  /** The page that runs cells is closed; another is opened. */
  async live() {
    const first = await open();
    await edit(first, 'edited before', 3);
    await upTo(10);
    for (const index of [0, 1, 2]) await runIt(first, index);
    await enough(first, 0, 10);
    await close(first);
    await upTo(20);

    const page = await open();
    await enough(page, 0, 20);
    await until('all three are shown to run', async () => `${await prompts(page)}` === '[*]:,[*]:,[*]:,[ ]:');
    await kernelIs(page, 'Busy');
    await pictures(page, 'notebook-live');
    await upTo(25);
    await enough(page, 0, 25);
    assert.equal(await isDirty(page), 0, 'it has nothing to save');
    await edit(page, 'edited meanwhile', 3);
    await upTo(30);
    await enough(page, 0, 30);
    await edit(page, 'and again', 3);
    assert.equal(await inOrder(page, 0), 30);
    await upTo(150);
    const shown = cell(page, 1).locator('.jp-OutputArea-output');
    await until('two are done', async () => `${await prompts(page)}` === '[1]:,[2]:,[*]:,[ ]:', { seconds: 120 });
    assert.deepEqual(await shown.locator('pre').allTextContents(), ['first']);
    await upTo(151);
    await until('it is done', async () => (await prompts(page))[2] === '[3]:', { seconds: 120 });
    assert.deepEqual(await lines(page, 0), range(150));
    assert.deepEqual(await shown.locator('pre').allTextContents(), ['second']);
    assert.equal(await shown.locator('img').count(), 1);
    assert.deepEqual(await lines(page, 2), ['final', '30%', '42']);
    assert.equal(`${await prompts(page)}`, '[1]:,[2]:,[3]:,[ ]:');
    await kernelIs(page, 'Idle');
    await edit(page, 'and afterwards', 3);
    assert.equal(await page.locator('.jp-Dialog:visible').count(), 0);
    // It runs the cell itself, and shows that once.
    await runIt(page, 2);
    await until('it is run again', async () => (await prompts(page))[2] === '[4]:');
    assert.deepEqual(await lines(page, 2), ['final', '30%', '42']);
    await edit(page, 'at last', 3);
  },

  /** Two pages; the one that runs a cell sleeps, is loaded anew, and the other one clears it. */
  async two() {
    const first = await open();
    const second = await open();
    await upTo(10);
    await runIt(first);
    await enough(second, 0, 10);
    assert.equal((await prompts(second))[0], '[*]:');
    await first.context().setOffline(true);
    await upTo(20);
    await enough(second, 0, 20);
    await first.context().setOffline(false);
    await first.reload();
    await labReady(first);
    await enough(first, 0, 20);
    for (const page of [first, second]) assert.equal(await inOrder(page, 0), 20);
    // Who clears what came so far sees what comes from then on.
    await cell(second, 0).locator('.jp-InputPrompt').click();
    await second.locator('.lm-MenuBar-itemLabel', { hasText: /^Edit$/ }).click();
    await second.locator('.lm-Menu-itemLabel', { hasText: 'Clear Cell Output' }).first().click();
    await until('it is cleared', async () => (await lines(second, 0)).length === 0);
    await upTo(30);
    await enough(second, 0, 10);
    assert.deepEqual(await lines(second, 0), range(30).slice(20));
    await upTo(150);
    await Promise.all([first, second].map((page) => until('it is done', async () => (await prompts(page))[0] === '[1]:', { seconds: 120 })));
    assert.deepEqual(await lines(first, 0), range(150));
    assert.deepEqual(await lines(second, 0), range(150).slice(20));
    await edit(first, 'by the first', 3);
  },

  /** Another program changes the file; what was printed is offered. */
  async aside() {
    const first = await open();
    await upTo(10);
    await runIt(first);
    await enough(first, 0, 10);
    await writeFile(`${process.env.LAB_HOME}/a.ipynb`, process.env.EDITED);
    await close(first);
    await upTo(150);
    const page = await open();
    await toast(page).waitFor({ timeout: 60_000 });
    await pictures(page, 'notebook-offer');
    await toast(page).getByRole('button', { name: 'Show' }).click();
    await until('it is shown', () => page.locator('.lm-TabBar-tab.lm-mod-current', { hasText: 'a-outputs.ipynb' }).count());
    await enough(page, 0, 150);
    await page.locator('.lm-TabBar-tab', { hasText: /^a\.ipynb/ }).click();
    await toast(page).getByRole('button', { name: 'Discard' }).click();
    await page.locator('.jp-Dialog .jp-mod-reject').click();
    await toast(page).getByRole('button', { name: 'Insert' }).click();
    await toast(page).waitFor({ state: 'detached' });
    await enough(page, 1, 150);
    assert.equal((await prompts(page))[1], '[1]:');
    await pictures(page, 'notebook-offer-inserted');
    await page.reload();
    await labReady(page);
    await enough(page, 1, 150);
    assert.match(await cell(page, 0).locator('.cm-content').innerText(), /of another program/);
    assert.equal(await toast(page).count(), 0);
  },

  /** The gateway starts no kernel. */
  async refused() {
    const context = await (await openBrowser()).newContext({ viewport: desk });
    const page = await context.newPage();
    await page.goto(process.env.LAB_URL.replace('%s', 'a.ipynb'));
    await labReady(page);
    const dialog = page.locator('.jp-Dialog:visible');
    await dialog.waitFor({ timeout: 60_000 });
    const words = await dialog.innerText();
    assert.match(words, /Both GPUs of ml-research are taken until 5 %\./);
    assert.doesNotMatch(words, /Error from Gateway|%s|Ensure gateway url/);
    await pictures(page, 'notebook-refused');
  },

  /** Somebody deletes the kernel under a cell. */
  async deleted() {
    const page = await open();
    await runIt(page);
    await until('the cell says so', async () => /KernelDeleted: The kernel was deleted\./.test(await cell(page, 0).innerText()));
    await until('it waits no more', async () => !(await prompts(page))[0].includes('*'));
    await pictures(page, 'notebook-kernel-deleted');
    await until('the page has let go of it', async () => (await page.locator('#jp-main-statusbar').innerText()).includes('| Disconnected'));
    const dialog = page.locator('.jp-Dialog:visible');
    await until('the next cell asks for a kernel', async () => {
      if (!(await dialog.count())) await runIt(page, 1);
      return dialog.count();
    }, { every: 3000 });
    await dialog.getByRole('button', { name: 'Select' }).click();
    await until('it runs there', async () => (await prompts(page))[1] === '[1]:');
    assert.deepEqual(await lines(page, 1), ['0', '1']);
  },

  /** Another extension has taken our classes away. */
  async unkept() {
    const page = await open();
    await runIt(page);
    await until('the cell says so', async () => /is in the place of elastichub/.test(await cell(page, 0).innerText()));
    await runIt(page, 3);
    await until('it is run', async () => /\[\d\]/.test((await prompts(page))[3]), { seconds: 120 });
    assert.doesNotMatch(await cell(page, 3).innerText(), /is in the place/, 'once is enough');
    await pictures(page, 'notebook-not-kept');
  },

  /** The server was told that it will be stopped, and the page is in the background, where JupyterLab asks
   * for nothing. */
  async stop() {
    const activity = new URL('/elastichub/v1/activity', process.env.LAB_URL).href;
    const headers = { Authorization: 'token t' };
    const open = async (locale, keepSeconds) => {
      const context = await (await openBrowser()).newContext({ viewport: desk, locale });
      await context.addInitScript(() => {
        window.away = true;
        Object.defineProperty(document, 'hidden', { get: () => window.away });
        Object.defineProperty(document, 'visibilityState', { get: () => (window.away ? 'hidden' : 'visible') });
      });
      const page = await context.newPage();
      const minutes = (n) => new Date(Date.now() + n * 60_000).toISOString();
      const data = { stopAt: minutes(4), idleSince: minutes(3), keepSeconds };
      assert.equal((await page.request.put(activity, { headers, data })).status(), 200);
      await page.goto(process.env.LAB_URL.replace('%s', 'a.ipynb'));
      return page;
    };
    const said = (page, text) => page.locator('.Toastify__toast', { hasText: text });
    const russian = await open('ru-RU', 60);
    const words = said(russian, /Этот сервер будет остановлен в \d\d:\d\d/);
    await words.waitFor({ timeout: 60_000 });
    assert.equal(await words.getByText('Сохранить').count(), 0, 'a minute more is too little');
    await russian.close();

    const page = await open('en-GB', 5400);
    await said(page, /This server will be stopped at \d\d:\d\d, since nothing runs/).waitFor({ timeout: 60_000 });
    await until('its title says so', async () => /^⏻ \d\d:\d\d · /.test(await page.title()));
    await page.evaluate(() => ((window.away = false), document.dispatchEvent(new Event('visibilitychange'))));
    await until('it has its title again', async () => !/⏻/.test(await page.title()));
    await pictures(page, 'notebook-stop');
    await said(page, 'will be stopped').getByText('Keep another hour').click();
    await said(page, /This server is kept until \d\d:\d\d/).waitFor();
    await until('the notice goes', async () => (await said(page, 'will be stopped').count()) === 0);
    const { snoozedUntil } = await (await page.request.get(activity, { headers })).json();
    assert.ok(Date.parse(snoozedUntil) > Date.now() + 59 * 60_000, snoozedUntil);
    await page.close();
  },

  /** A page in front that nobody touches, and one that somebody does. Its clock is moved on, as JupyterLab and
   * the plugin look every ten and twenty seconds. */
  async idle() {
    const activity = new URL('/elastichub/v1/activity', process.env.LAB_URL).href;
    const headers = { Authorization: 'token t' };
    const context = await (await openBrowser()).newContext({ viewport: desk, locale: 'en-GB' });
    const page = await context.newPage();
    await page.clock.install();
    const asked = [];
    page.on('requestfinished', (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
    await page.goto(process.env.LAB_URL.replace('%s', 'a.ipynb'));
    await labReady(page);
    await connected(page);
    const said = async () => (await page.request.get(activity, { headers })).json();
    const times = (what) => asked.filter((one) => one === what).length;
    const [polls, looks] = ['GET /api/kernels', 'POST /elastichub/v1/activity/page'];
    const lookAgain = async () => {
      const [former, told] = [times(polls), times(looks)];
      await page.clock.fastForward(25_000);
      await until('both have asked', async () => times(polls) > former && times(looks) > told);
    };
    let lastActivity;
    await page.clock.fastForward(150_000); // JupyterLab saves what opening it has changed
    await until('whatever goes with opening it is over', async () => {
      const former = lastActivity;
      await lookAgain();
      ({ lastActivity } = await said());
      return lastActivity === former;
    }, { seconds: 120 });
    for (let i = 0; i < 3; i++) await lookAgain();
    assert.equal((await said()).lastActivity, lastActivity, `none of these is use: ${[...new Set(asked)]}`);
    assert.deepEqual((await said()).busy, []);
    await page.evaluate(() => document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true })));
    await lookAgain();
    assert.equal((await said()).lastActivity, lastActivity, 'neither is what a program does');

    await page.mouse.move(700, 500);
    await page.mouse.wheel(0, 10);
    const looking = page.waitForRequest((request) => new URL(request.url()).pathname === '/elastichub/v1/activity/page');
    await lookAgain();
    const { usedSecondsAgo } = (await looking).postDataJSON();
    assert.ok(usedSecondsAgo > 0 && usedSecondsAgo < 60, `${usedSecondsAgo}`);

    const stopAt = new Date(Date.now() + 600_000).toISOString();
    const put = async (data) => assert.equal((await page.request.put(activity, { headers, data })).status(), 200);
    const toast = (text) => page.locator('.Toastify__toast', { hasText: text });
    await put({ stopAt, cause: 'Idle', idleSince: lastActivity, keepSeconds: 5400 });
    await lookAgain();
    await toast('since nothing runs').waitFor();
    // The page's clock was moved on and the server's was not, which tells a use by a second from what was before.
    await until('the last use is a while ago', () => Date.now() > Date.parse(lastActivity) + 5_000);
    await page.keyboard.press('Escape');
    await page.clock.fastForward(1500);
    await toast('since nothing runs').waitFor({ state: 'detached' });
    assert.ok((await said()).lastActivity > lastActivity);

    await put({ stopAt, cause: 'MaxRun', keepSeconds: 0 });
    await lookAgain();
    await toast(/at \d\d:\d\d: it has run for as long as is allowed/).waitFor();
    assert.equal(await toast('as long as').getByText('Keep').count(), 0);
    await close(page);
  },

  /** A widget sends more than a kernel takes. */
  async large() {
    const page = await open();
    const send = (mib) => page.evaluate((size) => {
      const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
      kernel.createComm('files').open({}, {}, [new Uint8Array(size << 20)]);
    }, mib);
    await send(65);
    await page.locator('.Toastify__toast', { hasText: '65 MiB was not sent. The message is larger than 64 MiB' }).waitFor();
    await pictures(page, 'notebook-too-large');
    await send(257);
    await page.locator('.Toastify__toast', { hasText: '257 MiB was not sent: the notebook server reads 256 MiB' }).waitFor();
  },
};

try {
  await scenarios[process.argv[2]]();
} catch (error) {
  for (const context of (await openBrowser()).contexts()) {
    for (const page of context.pages()) await picture(page, `failed-${process.argv[2]}`);
  }
  throw error;
} finally {
  await closeBrowser();
}
