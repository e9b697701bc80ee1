// What a notebook does with its kernels, in JupyterLab: binary widgets, input,
// progress, pictures, long output, kernels here and there, and a gateway that
// is killed in the middle.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { connected, labReady, newNotebook, output, outputOf, run } from './lab.mjs';
import { closeBrowser, hubURL, kernelPods, kubectl, list, notebookPod, picture, reset, signIn, startServer, timed, until } from './stack.mjs';

const user = 'researcher';
const remote = 'Python 3 (CPU)';
const local = 'Python 3 (this server)';
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
/** The lines that Python prints for range(n). */
const range = (n) => Array.from({ length: n }, (_, i) => `${i}`);

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

/** The lines in a cell's streams. Long ones are not all on the screen, so scrolling and layout do not count. */
const lines = async (cell) =>
  (await cell.locator('.jp-OutputArea-output pre').allTextContents()).join('').split('\n').filter(Boolean);

describe('kernels here and there', () => {
  it('the launcher tells which run in this server', async () => {
    const cards = await until('the launcher shows kernels', async () => {
      const titles = await page.locator('.jp-LauncherCard[data-category="Notebook"]:visible .jp-LauncherCard-label').allInnerTexts();
      return titles.length >= 3 && titles.map((title) => title.trim());
    });
    assert.deepEqual(cards.sort(), [remote, 'Python 3 (GPU)', local].sort());
    await picture(page, 'launcher-kernels');
  });

  it('a program that starts kernels itself runs on one of the gateway', async () => {
    await newNotebook(page, local);
    const cell = await run(page, [
      'import nbformat.v4 as v4, nbformat',
      'code = "import os, socket; open(\'ran.txt\', \'w\').write(\'on \' + socket.gethostname())"',
      'nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(code)]), "program.ipynb")',
      '!jupyter execute --kernel_name=python-cpu program.ipynb && cat ran.txt',
    ].join('\n'));
    const text = await output(cell, /on \S+|rror/, 120);
    assert.match(text, /on (warm-[0-9a-f-]{36}|[0-9a-f-]{36}-1)\b/, text);
    await until('its kernel has ended with it', async () => !(await kernelPods()).length);
  });

  it('both run, each where it says, on the same files', async () => {
    const where = 'import os, socket; print("on", socket.gethostname())';
    await newNotebook(page, local);
    const here = await output(await run(page, `${where}; open("shared.txt", "w").write("from here")`), /on \S+/);
    assert.equal(here.match(/on (\S+)/)[1], (await notebookPod(user)).metadata.name);
    assert.equal((await kernelPods()).length, 0, 'it costs no Pod');
    await picture(page, 'notebook-local');
    await newNotebook(page, remote);
    const there = await output(await run(page, `${where}; print(open("shared.txt").read())`), /from here/);
    assert.equal(there.match(/on (\S+)/)[1], (await kernelPods())[0].metadata.name);
  });
});

// All in the notebook with the remote kernel that is open now.
describe('what a kernel at the gateway can do', () => {
  it('pictures of matplotlib', async () => {
    const cell = await run(page, '%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]); plt.title("inline"); plt.show()');
    const image = cell.locator('.jp-OutputArea-output img');
    await image.waitFor({ timeout: 60_000 });
    await until('the picture is painted', () => image.evaluate((img) => img.complete && img.naturalWidth > 100));
    await picture(page, 'notebook-matplotlib');
  });

  it('binary buffers to the browser: an Image widget', async () => {
    const cell = await run(page, [
      'import io, ipywidgets as w, matplotlib.pyplot as plt',
      'figure = io.BytesIO()',
      'plt.imsave(figure, [[0, 1], [1, 0]], format="png")',
      'w.Image(value=figure.getvalue(), format="png", width=80)',
    ].join('\n'));
    const image = cell.locator('.jupyter-widgets img, img.widget-image');
    await image.waitFor({ timeout: 60_000 });
    await until('the widget is painted', () => image.evaluate((img) => img.complete && img.naturalWidth === 2));
    await picture(page, 'notebook-widget-image');
  });

  it('binary buffers from the browser: a FileUpload widget', async () => {
    // 0xff and 0xfe are no UTF-8; the size is beyond any default of 1 MiB.
    const bytes = Buffer.concat([Buffer.from([0xff, 0xfe, 0x00, 0x7b]), randomBytes(3 << 20)]);
    const cell = await run(page, 'upload = w.FileUpload(); upload');
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), cell.locator('button.widget-upload, button.jupyter-widget-upload').click()]);
    await chooser.setFiles({ name: 'bytes.bin', mimeType: 'application/octet-stream', buffer: bytes });
    await until('the widget counts it', async () => /\(1\)/.test(await cell.innerText()));
    const text = await output(await run(page, [
      'import hashlib',
      'got = bytes(upload.value[0]["content"])',
      'print(upload.value[0]["name"], len(got), hashlib.sha256(got).hexdigest())',
    ].join('\n')), /bytes\.bin/);
    assert.equal(text.trim(), `bytes.bin ${bytes.length} ${sha256(bytes)}`);
  });

  it('and back again: bytes of the browser\'s return to it', async () => {
    const cell = await run(page, 'w.Image(value=figure.getvalue() + bytes(2 << 20), format="png", width=80)');
    const image = cell.locator('.jupyter-widgets img, img.widget-image');
    await image.waitFor({ timeout: 60_000 });
    assert.equal(await image.evaluate(async (img) => (await (await fetch(img.src)).arrayBuffer()).byteLength > 2 << 20), true);
  });

  it('input()', async () => {
    const cell = await run(page, 'name = input("Who? "); print("hello", name[::-1])');
    const box = cell.locator('input.jp-Stdin-input');
    await box.waitFor();
    await picture(page, 'notebook-input');
    await box.fill('añb✓');
    await box.press('Enter');
    await output(cell, /hello ✓bña/);
  });

  it('progress of tqdm, as a widget and as text', async () => {
    const widget = await run(page, 'import time\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(60), desc="auto"): time.sleep(0.02)');
    await output(widget, /60\/60/);
    await picture(page, 'notebook-tqdm');
    const text = await run(page, 'from tqdm import tqdm\nfor _ in tqdm(range(60), desc="text"): time.sleep(0.02)');
    await output(text, /100%.*60\/60/);
    assert.equal((await lines(text)).filter((line) => /text:/.test(line)).length, 1, 'one line, drawn over');
  });

  it('a long stream: all of it, in order', async () => {
    const cell = await run(page, 'for i in range(20_000): print(i)');
    await until('the last line is there', async () => (await lines(cell)).at(-1) === '19999', { seconds: 90 });
    assert.deepEqual(await lines(cell), range(20_000));
  });

  it('many large messages: all of them, in order', async () => {
    const cell = await run(page, 'from IPython.display import display\nfor i in range(40): display({"text/plain": f"{i}:" + "x" * 500_000}, raw=True)');
    const heads = () => cell.locator('.jp-OutputArea-output pre').evaluateAll((all) => all.map((pre) => pre.textContent.slice(0, 3)));
    await until('the last is there', async () => (await heads()).length === 40, { seconds: 90 });
    assert.deepEqual(await heads(), range(40).map((i) => `${i}:x`.slice(0, 3)));
    await page.evaluate(() => document.querySelector('.jp-NotebookPanel')?.scrollIntoView());
  });
});

describe('a gateway that is killed in the middle of output', () => {
  const gateway = () => list('pods', 'app.kubernetes.io/component=kernel-gateway');

  it('every number is in the cell once, in order; what was typed meanwhile is run', async () => {
    await newNotebook(page, remote);
    await output(await run(page, 'import time; print("ready")'), /ready/);
    const cell = await run(page, 'for i in range(400):\n    print(i, flush=True)\n    time.sleep(0.05)');
    await until('it prints', async () => (await lines(cell)).length > 30);
    const killed = await gateway();
    assert.ok(killed.length > 0);
    await kubectl('delete', 'pod', ...killed.map((pod) => pod.metadata.name), '--grace-period=0', '--force');
    const typed = await run(page, 'print("typed while it was away")');
    await timed('gateway killed to output again', async () => {
      const before = (await lines(cell)).length;
      await until('output goes on', async () => (await lines(cell)).length > before + 5, { seconds: 60, every: 50 });
    });
    await picture(page, 'notebook-gateway-killed');
    await output(typed, /typed while/, 90);
    assert.deepEqual(await lines(cell), range(400));
    assert.equal((await outputOf(typed)).trim(), 'typed while it was away');
    const now = (await gateway()).map((pod) => pod.metadata.uid);
    assert.ok(killed.every((pod) => !now.includes(pod.metadata.uid)), 'it was another gateway in the end');
    assert.match(await kubectl('logs', (await notebookPod(user)).metadata.name), /connected to the gateway, attempt \d+, v1\.resume\.elastichub\.io/);
  });
});

describe('a page whose connection breaks', () => {
  it('has every number once, in order, when it is back', async () => {
    const other = await signIn(user);
    const sockets = [];
    await other.routeWebSocket(/\/channels/, (socket) => sockets.push([socket, socket.connectToServer()]));
    await other.goto(`${hubURL}/user/${user}/lab/workspaces/other`);
    await labReady(other);
    await newNotebook(other, remote);
    await output(await run(other, 'import time; print("ready")'), /ready/);
    const cell = await run(other, 'for i in range(200):\n    print(i, flush=True)\n    time.sleep(0.02 if i % 20 else 3 if i in (20, 80) else 0.7)');
    for (const enough of [20, 80]) {
      // In a pause: of a message on its way nobody could say whether it arrived.
      await until('it prints', async () => (await lines(cell)).length > enough, { every: 20 });
      await until('it pauses', async () => (await lines(cell)).length % 20 === 1, { every: 20 });
      await other.waitForTimeout(150);
      const before = sockets.length;
      for (const ends of sockets) for (const end of ends) await end.close({ code: 4999 }).catch(() => {});
      await until('the page has another socket', () => sockets.length > before);
    }
    await until('the last number is there', async () => (await lines(cell)).at(-1) === '199', { seconds: 90 });
    assert.deepEqual(await lines(cell), range(200));
    assert.ok(sockets.length >= 3, 'it did break');
    await other.context().close();
  });
});

describe('a notebook Pod that is deleted under a running cell', () => {
  const kernels = async () => (await list('jupyterkernels')).filter((k) => k.spec.user === user).map((k) => k.metadata.uid).sort();
  // JupyterLab says that its server was away, and asks for another kernel for each notebook whose own ran in that.
  before(() => page.addLocatorHandler(
    page.locator('.jp-Dialog'), (dialog) => dialog.locator('.jp-Dialog-footer button').first().click(), { noWaitAfter: true },
  ));
  after(() => page.removeLocatorHandler(page.locator('.jp-Dialog')));

  it('the page goes on with the same kernel: every number once, in order, and its variables', async () => {
    await newNotebook(page, remote);
    await output(await run(page, 'import time; kept = 42; print("ready")'), /ready/);
    const before = await kernels();
    const cell = await run(page, 'for i in range(300):\n    print(i, flush=True)\n    time.sleep(4 if i == 20 else 0.1)');
    // In a pause: of a message on its way nobody could say whether it arrived.
    await until('it pauses', async () => (await lines(cell)).length === 21, { every: 20 });
    const deleted = await notebookPod(user);
    await kubectl('delete', 'pod', deleted.metadata.name, '--wait=false');
    let [shown, since, longest] = [21, performance.now(), 0];
    await until('the last number is there', async () => {
      const now = await lines(cell);
      if (now.length > shown) [shown, since, longest] = [now.length, performance.now(), Math.max(longest, performance.now() - since)];
      return now.at(-1) === '299';
    }, { seconds: 180, every: 50 });
    console.log(`# notebook Pod deleted, the longest time without a new line: ${(longest / 1000).toFixed(2)} s`);
    await picture(page, 'notebook-pod-deleted');
    assert.deepEqual(await lines(cell), range(300));
    assert.notEqual((await notebookPod(user)).metadata.uid, deleted.metadata.uid);
    assert.deepEqual(await kernels(), before);
    await output(await run(page, 'print("kept", kept)'), /kept 42/);
  });

  it('a page that is loaded anew finds the kernel of its notebook', async () => {
    const before = await kernels();
    await page.locator('.jp-NotebookPanel:visible').press('Control+S');
    const name = await page.locator('.lm-DockPanel-tabBar .lm-mod-current .lm-TabBar-tabLabel').innerText();
    await page.goto(`${hubURL}/user/${user}/lab/tree/${name}`); // whatever JupyterLab remembers of what was open
    await labReady(page);
    await connected(page);
    await output(await run(page, 'print("still", kept)'), /still 42/);
    assert.deepEqual(await kernels(), before);
  });
});
