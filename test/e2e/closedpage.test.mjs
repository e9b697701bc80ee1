// A browser that is closed while cells run, and what the next one finds: also when gateway and
// notebook server are replaced meanwhile.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { cell, connected, edit, enough, labReady, lines, newNotebook, output, prompts, run, save } from './lab.mjs';
import { closeBrowser, hubURL, kubectl, list, notebookPod, picture, reset, signIn, startServer, until } from './stack.mjs';

const user = 'researcher';
const remote = 'Python 3 (CPU)';
const range = (n) => Array.from({ length: n }, (_, i) => `${i}`);

/** A program that leaves a line each time it is run. */
const proven = (name, ...lines) => [`_ = open("ran.txt", "a").write("${name}\\n")`, ...lines].join('\n');
const counting = (name, n, seconds) =>
  proven(name, 'import time', `for i in range(${n}): print(i, flush=True); time.sleep(${seconds})`);
const pictures = proven('pictures',
  'from IPython.display import HTML, clear_output, display',
  '%matplotlib inline',
  'import matplotlib.pyplot as plt',
  'shown = display(HTML("<b>before</b>"), display_id=True)',
  'plt.plot([1, 3, 2]); plt.show()');
const updates = proven('updates',
  'shown.update(HTML("<b>after</b>"))',
  'for i in range(3): print("draft", i); clear_output(wait=True)',
  'print("final")');

before(async () => {
  const page = await signIn(user);
  await startServer(user);
  await page.context().close();
});

after(async () => {
  await reset(user).catch((error) => console.error(error.message));
  await closeBrowser();
});

/** A browser profile of its own at that address of JupyterLab. */
async function open(where) {
  const page = await signIn(user);
  await page.goto(`${hubURL}/user/${user}/lab${where}`);
  await labReady(page);
  return page;
}

/** Loads the page anew until a cell's last line is that. */
async function reloadUntil(page, index, last) {
  await until(`a page that is loaded shows ${last}`, async () => {
    await page.reload();
    await labReady(page);
    await connected(page);
    return (await lines(page, index)).at(-1) === last;
  }, { seconds: 240, every: 5_000 });
}

describe('a page that is closed at line 10 of 120', () => {
  it('is missed by nobody, though gateway and notebook server are replaced', async () => {
    const page = await open('');
    await newNotebook(page, remote);
    await output(await run(page, 'print("ready")'), /ready/);
    for (const code of [counting('counting', 120, 0.5), pictures, updates]) await run(page, code);
    await until('it prints', async () => (await lines(page, 1)).length >= 10);
    await page.context().close();

    const gateways = await list('pods', 'app.kubernetes.io/component=kernel-gateway');
    assert.ok(gateways.length > 0);
    await kubectl('delete', 'pod', gateways[0].metadata.name, '--grace-period=0', '--force');
    const replaced = await notebookPod(user);
    await kubectl('delete', 'pod', replaced.metadata.name, '--wait=false');
    await until('there is another server', async () => {
      const pod = await notebookPod(user);
      return pod && pod.metadata.uid !== replaced.metadata.uid && pod.status.containerStatuses?.every((c) => c.ready);
    }, { seconds: 120 });

    const later = await open('/tree/Untitled.ipynb');
    await connected(later);
    await reloadUntil(later, 3, 'final');
    assert.deepEqual(await enough(later, 1, 120), range(120));
    assert.deepEqual(await lines(later, 3), ['final']);
    const shown = cell(later, 2).locator('.jp-OutputArea-output');
    await shown.locator('img').waitFor();
    assert.equal(await shown.locator('b').textContent(), 'after');
    assert.equal(await shown.locator('img').count(), 1);
    assert.deepEqual((await prompts(later)).slice(0, 4), ['[1]:', '[2]:', '[3]:', '[4]:']);
    await picture(later, 'notebook-closed-page');
    const ran = await output(await run(later, 'print("ran", open("ran.txt").read().split())'), /ran \[/);
    assert.equal(ran.trim(), "ran ['counting', 'pictures', 'updates']");
    await edit(later, 'edited later');
    await later.context().close();
  });
});

describe('a page that is opened while a cell of another runs', () => {
  it('shows what came so far and goes on live, and undoes nothing when it saves', async () => {
    const page = await open('/tree/Untitled.ipynb');
    await connected(page);
    await cell(page, 0).locator('.cm-content').click();
    await page.keyboard.press('Control+A');
    await page.keyboard.insertText(counting('again', 120, 0.5));
    await save(page); // others have the cell as it is
    await cell(page, 0).locator('.cm-content').click();
    await page.keyboard.press('Shift+Enter');
    await until('it prints', async () => (await lines(page, 0)).length >= 10);
    // A second browser, while the first is open, and a third when it is closed.
    const second = await open('/tree/Untitled.ipynb');
    await connected(second);
    const live = async (other) => {
      const soFar = await enough(other, 0, 10);
      assert.ok(soFar.length < 120, `${soFar.length} lines`);
      assert.deepEqual(await enough(other, 0, soFar.length + 3), range((await lines(other, 0)).length));
      assert.equal((await prompts(other))[0], '[*]:');
      assert.match(await other.locator('#jp-main-statusbar').innerText(), /\| Busy/);
    };
    await live(second);
    await page.context().close();
    const third = await open('/tree/Untitled.ipynb');
    await connected(third);
    await live(third);
    await picture(third, 'notebook-live');
    await edit(third, 'edited meanwhile');
    for (const other of [second, third]) {
      await until('it is done', async () => /^\[\d+\]:$/.test((await prompts(other))[0]), { seconds: 180 });
      assert.deepEqual(await enough(other, 0, 120), range(120));
    }
    await second.context().close();
    await edit(third, 'and afterwards');
    await reloadUntil(third, 0, '119');
    assert.deepEqual(await enough(third, 0, 120), range(120));
    await until('what was edited is there', async () => { // JupyterLab shows cells that are in view
      await cell(third, 1).scrollIntoViewIfNeeded();
      return /# edited meanwhile\s+# and afterwards/.test(await cell(third, 1).locator('.cm-content').innerText());
    });
    await third.context().close();
  });
});
