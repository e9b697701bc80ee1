// A kernel is parked and comes back with its variables: what is kept, what is not and is
// named, and what the person at the page sees of it.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { accept, kernelMenu, labReady, newNotebook, output, run } from './lab.mjs';
import {
  closeBrowser, gpusOf, hubURL, idleSeconds, kernelOf, kernelPods, kubectl, notebookPod, parkedKernelOf, picture, reset, signIn, startServer, timed, until,
} from './stack.mjs';

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

describe('a notebook whose variables can all be kept', () => {
  it('gives its GPU back at the short limit, with all of them', async () => {
    await newNotebook(page, 'Python 3 (GPU)');
    const cell = await run(page, [
      'import numpy as np, pandas as pd',
      'frame = pd.DataFrame({"a": np.arange(1_000_000), "b": np.random.default_rng(1).normal(size=1_000_000)})',
      'view = frame["a"].to_numpy()[:3]; names = ["x", "y"]; alias = names',
      'def total(): return factor * int(frame["a"].sum())',
      'class Point:\n    def __init__(self, x): self.x = x',
      'point = Point(7); factor = 1',
      'import random; random.seed(3); first = random.random()',
      'print("made", gpu := 1)',
    ].join('\n'));
    await output(cell, /made 1/);
    assert.equal((await kernelPods()).reduce((n, pod) => n + gpusOf(pod), 0), 1);
    const began = Date.now();
    const k = await parked();
    const after = (Date.now() - began) / 1000;
    assert.ok(after < idleSeconds, `it took ${after} s, as long as without`);
    assert.equal(k.status.cause, 'Idle');
    assert.equal(k.status.kept.outcome, 'whole');
    assert.ok(k.status.kept.bytes > 1e6, `${k.status.kept.bytes}`);
    await output(cell, /parked after 30 s without work: its GPU is free again\. All \d+ variables are kept/, 10);
    await picture(page, 'keep-parked');
    await gone();
  });

  it('comes back with them before the first cell', async () => {
    const cell = await run(page, [
      'factor = 2; alias.append("z")',
      'print(total(), names, point.x, type(point).__name__, view.tolist(), random.random())',
    ].join('\n'));
    const text = await timed('run cell to first output, parked with its variables', () => output(cell, /999999000000/, 90));
    assert.match(text, /999999000000 \['x', 'y', 'z'\] 7 Point \[0, 1, 2\] 0\.5442292252959519/);
    assert.match(text, /Kernel is back with all \d+ variables/);
    assert.doesNotMatch(text, /gone/);
    await picture(page, 'keep-returned');
    assert.equal((await kernel()).status.run, 2);
  });

  it('leaves nothing on the volume that could be read', async () => {
    const { metadata: { name } } = await notebookPod(user);
    await output(await run(page, 'secret = "correct horse " * 4000; print("whispered")'), /whispered/);
    const k = await parked();
    await gone();
    const directory = `/home/jovyan/.elastichub/kernels/${k.metadata.uid}`;
    const modes = await kubectl('exec', name, '--', 'sh', '-c', `cd ${directory} && find . -printf '%y %m\\n' | sort -u`);
    assert.match(modes.trim(), /^d 2?700\nf 600$/);
    const found = await kubectl('exec', name, '--', 'sh', '-c', `grep -rlaE 'correct horse|whispered' ${directory} || echo none`);
    assert.equal(found.trim(), 'none');
    await output(await run(page, 'print(len(secret), type(frame).__name__)'), /56000 DataFrame/, 90);
  });

  it('restart begins without them', async () => {
    await kernelMenu(page, /^Restart Kernel…/);
    await accept(page);
    await output(await run(page, 'print("frame" in globals(), "clean")'), /False clean/, 40);
    await output(await run(page, 'after_restart = 1; print("set")'), /set/);
    await parked();
    await gone();
    await output(await run(page, 'print("frame" in globals(), after_restart)'), /False 1/, 90);
  });
});

describe('a notebook with something that cannot be kept', () => {
  it('waits for its long limit, and says beforehand what will be lost', async () => {
    await output(await run(page, [
      'numbers = (n for n in range(10)); next(numbers); kept = [1, 2, 3]',
      'print("half way")',
    ].join('\n')), /half way/);
    const began = Date.now();
    const k = await parked();
    assert.ok((Date.now() - began) / 1000 > idleSeconds - 15, 'not at the short limit');
    assert.equal(k.status.kept.outcome, 'part');
    assert.match(k.status.kept.lost.join(), /numbers/);
    await gone();
  });

  it('has the rest when it is back, and says so where the other is used', async () => {
    const cell = await run(page, 'print(kept)\nnext(numbers)');
    const text = await output(cell, /ParkedObjectLost/, 90);
    assert.match(text, /\[1, 2, 3\]/);
    assert.match(text, /numbers.*generator.*In \[\d+\]/s);
    await picture(page, 'keep-lost');
  });
});

describe('a parked kernel for which another is chosen', () => {
  it('returns as that, with its variables, by JupyterLab\'s own dialog', async () => {
    await output(await run(page, 'chosen = [1]; other = chosen; del numbers; print("set")'), /set/);
    const before = await parked();
    await gone();
    await kernelMenu(page, /^Change Kernel…/);
    await page.locator('.jp-Dialog select').selectOption({ label: 'Python 3 (CPU)' });
    await accept(page);
    await until('it is ready as another', async () => {
      const k = await kernel();
      return k?.spec.kernelSpec === 'python-cpu' && k.status.phase === 'Ready';
    }, { seconds: 90 });
    assert.equal((await kernel()).metadata.uid, before.metadata.uid);
    assert.equal((await kernelPods()).reduce((n, pod) => n + gpusOf(pod), 0), 0);
    const text = await output(await run(page, 'chosen.append(2); print(other)'), /\[1, 2\]/, 90);
    assert.match(text, /Kernel is back with all \d+ variables/);
    await picture(page, 'keep-another');
    // JupyterLab knows a kernel by its id, and what it is called once the page is loaded anew.
    await page.keyboard.press('Control+S');
    await page.reload();
    await until('the page says which kernel it is', async () =>
      /Python 3 \(CPU\)/.test(await page.locator('#jp-main-statusbar').innerText().catch(() => '')), { seconds: 60 });
  });
});
