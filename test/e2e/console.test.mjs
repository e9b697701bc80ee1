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
    assert.deepEqual(await page.locator('nav a').allInnerTexts(), ['Mine', 'My hours']);
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

  it('changes a policy in a form, and leaves alone what Helm manages', async () => {
    const page = await signIn('admin');
    const refused = [];
    page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) refused.push(message.text()); });
    await page.goto(`${consoleURL}policies/ml-research`);
    assert.match(await page.locator('.notice').innerText(), /Helm manages this policy/);
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByLabel('GPUs per user').fill('3');
    await page.locator('button.main').click();
    assert.match(await page.locator('pre').innerText(), /gpusPerUser: 3/);
    assert.equal(await page.getByRole('button', { name: 'Save' }).count(), 0);

    await page.goto(`${consoleURL}newpolicy?copy=ml-research`);
    await page.getByLabel('Name of the object').fill('copied');
    await page.getByLabel('Priority').fill('-5');
    await page.getByLabel('Part of a group\'s name').fill('anal');
    await page.locator('#found').getByLabel('analysts').check();
    assert.match(await page.getByLabel('Groups, one a line').inputValue(), /^ml-research\nanalysts$/);
    await page.locator('button.main').click();
    await page.getByLabel('Reason').fill('a test');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.waitForURL(/policies\/copied/);
    assert.match(await page.locator('main').innerText(), /Saved\./);

    const before = Date.now();
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByLabel('GPUs per user').fill('1');
    await page.getByLabel('GPUs per user').press('Enter');
    assert.match(await page.locator('tbody').first().innerText(), /kernels\.gpusPerUser\s+2\s+1/);
    await page.getByLabel('Reason').fill('a test');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Saved.').waitFor();
    console.log(`from Edit to Saved: ${Date.now() - before} ms`);

    await page.getByRole('link', { name: 'Delete' }).click();
    assert.match(await page.locator('main').innerText(), /Who is affected/);
    await page.getByLabel('Reason').fill('a test');
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('The policy is deleted.').waitFor();

    await page.goto(`${consoleURL}explain?user=researcher`);
    assert.match(await page.locator('main').innerText(), /it has the highest priority/);
    assert.ok(await page.locator('.preview input').first().isDisabled());
    assert.deepEqual(refused, []);
    await page.context().close();
  });

  it('tells what was held, and by whom', async () => {
    const page = await signIn('admin');
    await page.goto(`${consoleURL}hours?days=30`);
    assert.equal(await page.locator('h1').innerText(), 'Hours');
    assert.match(await page.locator('main').innerText(), /What is counted/);
    const answer = await page.evaluate(async () => (await fetch('api/v1/usage?by=user&days=30')).json());
    for (const line of answer.items) {
      for (const { held, busy } of Object.values(line.resources)) {
        assert.ok(busy <= held + 1e-6, `${line.name}: ${busy} of ${held} h`);
      }
    }
    if (answer.items.length > 0) { // kernels of other tests have run in this cluster
      await page.getByRole('navigation', { name: 'Table by' }).getByRole('link', { name: 'User' }).click();
      assert.match(page.url(), /by=user/);
      assert.match(await page.locator('tbody').innerText(), new RegExp(answer.items[0].name));
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download as CSV' }).click()]);
      assert.equal(file.suggestedFilename(), 'hours-by-user.csv');
    }
    await page.context().close();

    const own = await signIn('researcher');
    assert.equal((await own.goto(`${consoleURL}hours`)).status(), 403);
    assert.equal((await own.goto(`${consoleURL}my-hours`)).status(), 200);
    await own.context().close();
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [size, viewport] of [['desktop', { width: 1280, height: 900 }], ['phone', { width: 390, height: 844 }]]) {
      it(`is accessible, ${colorScheme}, ${size}`, async () => {
        const page = await signIn('admin', { colorScheme, viewport, bypassCSP: true });
        for (const path of ['', 'my-hours', 'hours', 'cluster', 'kernels', 'servers', 'policies', 'policies/ml-research', 'newpolicy?copy=ml-research', 'directory', 'explain?user=researcher']) {
          await page.goto(consoleURL + path);
          assert.deepEqual(await violations(page), [], path);
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wider <= 0, `${path || 'mine'} is ${wider} px wider than the screen`);
          await picture(page, `console-${(path || 'mine').replace(/\W/g, '-')}-${size}-${colorScheme}`);
        }
        await page.context().close();
      });
    }
  }
});
