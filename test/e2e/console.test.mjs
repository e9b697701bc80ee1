// The console behind the Hub's proxy: the way there, who sees what, and what it looks
// like to an eye, a phone and a screen reader. Starts no server. Needs the demo's Hub,
// its directory and the console.
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { closeBrowser, hubURL, picture, signIn } from './stack.mjs';

after(closeBrowser);

const consoleURL = `${hubURL}/services/elastichub/`;

/** What axe finds; the page's own policy would not let it in. */
async function violations(page) {
  await page.addScriptTag({ path: fileURLToPath(import.meta.resolve('axe-core/axe.min.js')) });
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(' ')}`);
}

describe('the console', () => {
  it('is in the Hub’s menu, and knows who comes from there', async () => {
    const page = await signIn('researcher');
    const refused = [];
    page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) refused.push(message.text()); });
    await page.getByRole('button', { name: 'Services' }).click();
    await page.getByRole('link', { name: 'elastichub' }).click();
    await page.waitForURL(consoleURL);
    assert.equal(await page.locator('h1').innerText(), 'My servers and kernels');
    assert.deepEqual(await page.locator('nav a').allInnerTexts(), ['Mine']);
    const me = await page.evaluate(async () => (await fetch('api/v1/me')).json());
    assert.equal(me.user, 'researcher');
    assert.equal(me.admin, false);
    const answer = await page.goto(`${consoleURL}cluster`);
    assert.equal(answer.status(), 403);
    assert.match(await page.locator('main').innerText(), /Only administrators/);
    assert.deepEqual(refused, []);

    await page.goto(consoleURL);
    await page.click('text=Sign out');
    await page.waitForURL(`${consoleURL}signedout`);
    assert.equal(await page.evaluate(async () => (await fetch('api/v1/me')).status), 401);
    await page.context().close();
  });

  it('shows administrators the cluster', async () => {
    const page = await signIn('admin');
    await page.goto(`${consoleURL}cluster`);
    assert.equal(await page.locator('h1').innerText(), 'Cluster');
    const gpus = page.locator('h2', { hasText: 'nvidia.com/gpu' });
    assert.equal(await gpus.count(), 1);
    for (const name of ['Kernels', 'Servers', 'Groups and quotas']) {
      await page.locator('nav').getByRole('link', { name }).click();
      assert.equal(await page.locator('h1').innerText(), name);
    }
    assert.match(await page.locator('tbody').innerText(), /Machine learning research/);
    await page.context().close();
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of [['desktop', { width: 1280, height: 900 }], ['phone', { width: 390, height: 844 }]]) {
      it(`is accessible, ${colorScheme}, ${size}`, async () => {
        const page = await signIn('admin', { colorScheme, viewport, bypassCSP: true });
        for (const path of ['', 'cluster', 'kernels', 'servers', 'policies']) {
          await page.goto(consoleURL + path);
          assert.deepEqual(await violations(page), [], path);
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wider <= 0, `${path || 'mine'} is ${wider} px wider than the screen`);
          await picture(page, `console-${path || 'mine'}-${size}-${colorScheme}`);
        }
        await page.context().close();
      });
    }
  }
});
