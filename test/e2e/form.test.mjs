// The form in the Hub's page: what it looks like to an eye, a hand on a phone,
// a keyboard and a screen reader, and how a refused one returns. Starts no
// server. Needs HUB_URL and the demo's users only.
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { closeBrowser, hubURL, picture, signIn } from './stack.mjs';

after(closeBrowser);

const phone = { width: 390, height: 844 };

/** The spawn page of a fresh profile. */
async function spawnPage(user, { path = '', ...options } = {}) {
  const page = await signIn(user, options);
  await page.goto(`${hubURL}/hub/spawn/${user}${path}`);
  return page;
}

/** What axe finds in our part of the page; the button is the Hub's. */
async function violations(page) {
  await page.addScriptTag({ path: fileURLToPath(import.meta.resolve('axe-core/axe.min.js')) });
  const found = await page.evaluate(() => globalThis.axe.run({ include: [['#spawn_form']], exclude: [['button[type=submit]']] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(' ')}`);
}

/** Whole page, since what is below the fold counts too. */
async function fullPicture(page, name) {
  const { height } = await page.evaluate(() => ({ height: document.documentElement.scrollHeight }));
  const { width } = page.viewportSize();
  await page.setViewportSize({ width, height });
  await picture(page, name);
}

const values = (page) => page.evaluate(() => Object.fromEntries(new FormData(document.querySelector('#spawn_form'))));

describe('at home in the page', () => {
  for (const user of ['researcher', 'analyst', 'admin']) {
    for (const colorScheme of ['light', 'dark']) {
      for (const [size, viewport] of [['desktop', { width: 1280, height: 900 }], ['phone', phone]]) {
        it(`${user}, ${colorScheme}, ${size}`, async () => {
          const page = await spawnPage(user, { colorScheme, viewport });
          assert.equal(await page.locator('html').getAttribute('data-bs-theme'), colorScheme);
          assert.deepEqual(await violations(page), []);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${overflow} px too wide`);
          await fullPicture(page, ['form', user, size === 'phone' && size, colorScheme === 'dark' && colorScheme].filter(Boolean).join('-'));
          await page.context().close();
        });
      }
    }
  }

  it('somebody without a policy reads why, in their language', async () => {
    const page = await spawnPage('guest', { locale: 'ru-RU' });
    assert.match(await page.locator('#spawn_form [role=alert]').innerText(), /Ни одна политика/);
    assert.equal(await page.locator('input[name=cpu]').count(), 0);
    assert.deepEqual(await violations(page), []);
    await picture(page, 'form-guest');
    await page.context().close();
  });
});

describe('in the languages of people', () => {
  for (const [locale, lang, said, live] of [
    ['en-GB', 'en', 'Software', '1.5 of 4 CPUs, request 0.5'],
    ['ru-RU', 'ru', 'Программы', '1,5 из 4 ядер, запрос 0,5'],
    ['zh-CN', 'zh-Hans', '软件', '1.5 / 4 核，请求 0.5'],
    ['de-DE', 'en', 'Software', '1.5 of 4 CPUs, request 0.5'],
  ]) {
    it(`${locale} reads ${lang}`, async () => {
      const page = await spawnPage('researcher', { locale });
      const form = page.locator('#eh-form');
      assert.equal(await form.getAttribute('lang'), lang);
      assert.match(await form.innerText(), new RegExp(said));
      await page.fill('#eh-cpu', '1.5');
      assert.equal(await page.locator('#eh-cpu-live').innerText(), live);
      const spoken = await page.locator('[data-eh-number=cpu] input[type=range]').getAttribute('aria-valuetext');
      assert.equal(spoken, { en: '1.5 CPUs', ru: '1,5 ядра', 'zh-Hans': '1.5 核' }[lang]);
      assert.deepEqual(await violations(page), []);
      if (lang !== 'en') {
        await page.reload();
        await fullPicture(page, `form-researcher-${lang}`);
      }
      await page.context().close();
    });
  }
});

describe('sizes, sliders and numbers', () => {
  it('say one thing, whichever was touched', async () => {
    const page = await spawnPage('researcher');
    const slider = page.locator('[data-eh-number=cpu] input[type=range]');
    const checked = () => page.locator('input[name=preset]:checked').inputValue();
    await page.getByLabel('Large').check();
    assert.deepEqual(await values(page).then(({ cpu, memory, preset }) => [cpu, memory, preset]), ['4', '6', 'Large']);
    assert.equal(await slider.inputValue(), '7');
    assert.equal(await page.locator('#eh-cpu-live').innerText(), '4 of 4 CPUs, request 1.33');

    await page.fill('#eh-cpu', '2');
    assert.equal(await checked(), '', 'a size that was changed is one’s own');
    assert.equal(await slider.inputValue(), '3');
    await page.fill('#eh-memory', '2');
    assert.equal(await checked(), 'Medium', 'numbers of a size are that size');

    await slider.focus();
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.inputValue('#eh-cpu'), '2.5');
    await page.keyboard.press('End');
    assert.equal(await page.inputValue('#eh-cpu'), '4');
    await page.keyboard.press('Home');
    assert.equal(await page.inputValue('#eh-cpu'), '0.5');
    assert.equal(await page.locator('#eh-cpu-live').innerText(), '0.5 of 4 CPUs, request 0.17');
    await page.context().close();
  });

  it('can be reached and changed by keyboard alone, in the order of the page', async () => {
    const page = await spawnPage('researcher');
    await page.evaluate(() => document.querySelector('#spawn_form').setAttribute('tabindex', '-1'));
    await page.locator('#spawn_form').focus();
    const order = [];
    for (let i = 0; i < 8; i++) {
      await page.keyboard.press('Tab');
      order.push(await page.evaluate(() => {
        const e = document.activeElement;
        return e.name || e.getAttribute('aria-label') || e.type;
      }));
    }
    assert.deepEqual(order.slice(0, 7), ['preset', 'cpu', 'CPU slider', 'memory', 'Memory slider', 'image', 'submit']);
    await page.context().close();
  });

  it('work without scripts', async () => {
    const page = await spawnPage('researcher', { javaScriptEnabled: false });
    assert.equal(await page.locator('input[type=range]:visible').count(), 0, 'nothing that does nothing');
    assert.ok(await page.locator('.eh-unscripted').isVisible());
    await page.getByLabel('Large').check();
    await page.fill('#eh-cpu', '1');
    await page.locator('#eh-image-latest').evaluate((e) => { e.value = 'gone'; });
    await page.getByLabel('Latest').check();
    await page.click('#spawn_form [type=submit]');
    const alert = page.locator('#eh-faults');
    assert.match(await alert.innerText(), /Choose one of these/);
    assert.equal(await page.inputValue('#eh-cpu'), '4', 'the size counts, and its numbers are shown');
    assert.ok(await page.getByLabel('Large').isChecked());
    await page.context().close();
  });
});

describe('a refused form', () => {
  for (const [name, options] of [['form-refused', {}], ['form-refused-phone-dark', { colorScheme: 'dark', viewport: phone }]]) {
    it(`returns as it was entered: ${name}`, async () => {
      const page = await spawnPage('researcher', options);
      await page.locator('#spawn_form').evaluate((e) => { e.noValidate = true; });
      await page.fill('#eh-cpu', '64');
      await page.fill('#eh-memory', '1.3');
      await page.getByLabel('Latest').check();
      await page.click('#spawn_form [type=submit]');
      const alert = page.locator('#eh-faults');
      await alert.waitFor();
      assert.deepEqual(await values(page).then(({ cpu, memory, image }) => [cpu, memory, image]), ['64', '1.3', 'latest']);
      assert.equal(await page.evaluate(() => document.activeElement.id), 'eh-faults', 'read first');
      assert.match(await alert.innerText(), /CPU: Your group may have at most 4 CPUs\./);
      assert.equal(await page.locator('.spawn-error-msg').count(), 0, 'said once');
      for (const field of ['cpu', 'memory']) {
        const input = page.locator(`#eh-${field}`);
        assert.equal(await input.getAttribute('aria-invalid'), 'true');
        assert.ok((await input.getAttribute('aria-describedby')).split(' ').includes(`eh-${field}-fault`));
      }
      assert.deepEqual(await violations(page), []);
      await fullPicture(page, name);
      await alert.locator('a').first().click();
      assert.equal(await page.evaluate(() => document.activeElement.id), 'eh-cpu', 'the link leads to the field');
      await page.context().close();
    });
  }

  it('of a named server is that server’s', async () => {
    const page = await spawnPage('researcher', { path: '/second' });
    assert.match(await page.locator('#eh-form h2').innerText(), /server “second”/);
    await page.locator('#spawn_form').evaluate((e) => { e.noValidate = true; });
    await page.fill('#eh-cpu', '64');
    await page.click('#spawn_form [type=submit]');
    await page.locator('#eh-faults').waitFor();
    assert.match(await page.locator('#eh-form h2').innerText(), /server “second”/);
    await page.context().close();
  });
});
