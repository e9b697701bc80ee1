// What goes wrong ends in a clear error, with nothing half made.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import {
  closeBrowser, gatewayAPI, gatewayURL, hubURL, kubectl, list, namespace, openBrowser, until,
} from './stack.mjs';

const kernelImage = async () =>
  (await list('jupyterkernelspecs')).find((spec) => spec.metadata.name === 'python-cpu').spec.image;

const apply = (...objects) => execFileSync(process.env.KUBECTL ?? 'kubectl', ['-n', namespace, 'apply', '-f', '-'], {
  input: JSON.stringify({
    apiVersion: 'v1', kind: 'List',
    items: objects.map((object) => ({ apiVersion: 'kubeflow.tkestack.io/v1alpha1', ...object })),
  }),
});

const resources = { requests: { cpu: '10m', memory: '64Mi' }, limits: { cpu: '1', memory: '512Mi' } };
const kernelSpec = (name, spec) => ({
  kind: 'JupyterKernelSpec', metadata: { name },
  spec: { language: 'python', displayName: name, resources, ...spec },
});
const kernel = (name, spec) => ({
  kind: 'JupyterKernel', metadata: { name },
  spec: { gateway: 'default', user: 'faults', run: 1, ...spec },
});
const policy = (name, allowed) => ({
  kind: 'GroupPolicy', metadata: { name },
  spec: {
    groups: ['nobody-has-this-group'], cpu: { min: '1', max: '1' }, memory: { min: '1Gi', max: '1Gi' },
    images: [{ id: 'none', image: 'none' }], kernels: { allowed },
  },
});

const clean = () => kubectl('delete', '--ignore-not-found', 'jupyterkernel/fault-command', 'jupyterkernel/fault-image',
  'jupyterkernel/fault-refused', 'jupyterkernelspec/fault-command', 'jupyterkernelspec/fault-image', 'grouppolicy/faults');

describe('kernels that cannot be', () => {
  before(async () => {
    await clean();
    apply(
      kernelSpec('fault-command', { image: await kernelImage(), command: ['sh', '-c', 'echo no such device >&2; exit 7'] }),
      kernelSpec('fault-image', { image: 'localhost/elastichub/there-is-no-such-image:1' }),
      policy('faults', ['fault-command', 'fault-image']),
    );
  });
  after(clean);

  for (const { name, spec, cause, said } of [
    { name: 'a command that exits at once', spec: { kernelSpec: 'fault-command', policies: ['faults'] }, cause: 'StartFailed', said: /7[\s\S]*no such device|no such device[\s\S]*7/ },
    { name: 'an image that is not there', spec: { kernelSpec: 'fault-image', policies: ['faults'] }, cause: 'Image', said: /there-is-no-such-image/ },
    { name: 'a kernelspec that is not allowed', spec: { kernelSpec: 'python-gpu', policies: ['faults'] }, cause: 'Refused', said: /python-gpu/ },
  ]) {
    it(`${name}: dead with its cause, and no Pod left`, async () => {
      const id = { StartFailed: 'fault-command', Image: 'fault-image', Refused: 'fault-refused' }[cause];
      apply(kernel(id, spec));
      const dead = await until('the kernel is dead', async () =>
        (await list('jupyterkernels')).find((k) => k.metadata.name === id && k.status?.phase === 'Dead' && !k.status.held), { seconds: 90 });
      assert.equal(dead.status.cause, cause);
      assert.match(dead.status.message, said);
      await until('its Pod is gone', async () => (await list('pods', `elastichub.io/kernel=${id}`)).length === 0);
    });
  }

  it('a kernelspec that the gateway does not have', async () => {
    const before = (await list('jupyterkernels')).length;
    const { status, json } = await gatewayAPI('POST', '/api/kernels', { name: 'there-is-no-such-kernel' });
    assert.equal(status, 404);
    assert.match(json.message, /there-is-no-such-kernel/);
    assert.equal((await list('jupyterkernels')).length, before);
  });
});

describe('with controllers and gateway down', () => {
  const id = 'fault-alone';
  const remove = () => kubectl('delete', '--ignore-not-found', 'jupyterkernel', id);
  const scale = async (replicas) => {
    // The controllers would undo what happens to the gateway's Deployment.
    for (const name of ['elastichub', 'default']) await kubectl('scale', `deployment/${name}`, `--replicas=${replicas}`);
  };
  before(remove);
  after(async () => {
    await scale(1);
    for (const name of ['elastichub', 'default']) await kubectl('rollout', 'status', `deployment/${name}`, '--timeout=60s');
    await until('the gateway answers again', async () => (await gatewayAPI('GET', '/api/kernelspecs')).status === 200);
    await remove();
  });

  it('an idle kernel still gives its GPU back, and is parked when they return', async () => {
    apply(kernel(id, { kernelSpec: 'python-gpu', policies: ['platform-admins'], idleTimeoutSeconds: 10 }));
    await until('the kernel runs', async () => (await list('jupyterkernels')).find((k) => k.metadata.name === id && k.status?.phase === 'Ready'));
    await scale(0);
    await until('nobody is there', async () => (await list('pods', 'app.kubernetes.io/component in (service,kernel-gateway)')).length === 0);
    const ended = await until('the Pod has completed', async () =>
      (await list('pods', `elastichub.io/kernel=${id}`)).find((pod) => pod.status.phase === 'Succeeded'), { seconds: 60 });
    assert.equal(JSON.parse(ended.status.containerStatuses[0].state.terminated.message).reason, 'idle');
    await scale(1);
    const parked = await until('the kernel is parked', async () =>
      (await list('jupyterkernels')).find((k) => k.metadata.name === id && k.status.phase === 'Parked' && !k.status.held), { seconds: 60 });
    assert.equal(parked.status.cause, 'Idle');
    await until('its Pod is gone', async () => (await list('pods', `elastichub.io/kernel=${id}`)).length === 0);
  });
});

describe('who may not come in', () => {
  const id = '00000000-0000-4000-8000-000000000000';
  for (const [method, path] of [
    ['GET', '/api/kernelspecs'], ['GET', '/api/kernelspecs/python-cpu'], ['GET', '/api/kernels'], ['POST', '/api/kernels'],
    ['GET', `/api/kernels/${id}`], ['DELETE', `/api/kernels/${id}`], ['POST', `/api/kernels/${id}/restart`],
    ['POST', `/api/kernels/${id}/interrupt`], ['GET', `/api/kernels/${id}/channels`],
  ]) {
    it(`the gateway, ${method} ${path.replace(id, '{id}')}`, async () => {
      for (const headers of [{}, { Authorization: 'token wrong' }, { Authorization: 'token ' }]) {
        const response = await fetch(gatewayURL + path, { method, headers });
        assert.equal(response.status, 401, JSON.stringify(headers));
        assert.ok((await response.json()).message);
      }
    });
  }

  it('the Hub API of the service', async () => {
    const address = await kubectl('get', 'service', 'elastichub', '-o', 'jsonpath={.spec.clusterIP}');
    const url = `http://${address}:8080/api/spawner/v1`;
    for (const [method, path] of [
      ['GET', '/users/researcher/form'], ['POST', '/users/researcher/options'], ['POST', '/users/researcher/options/check'],
      ['PUT', '/users/researcher/server'], ['GET', '/users/researcher/server'], ['DELETE', '/users/researcher/server'],
      ['GET', '/users/researcher/server/events'], ['GET', '/servers'], ['GET', '/openapi.yaml'], ['GET', '/nothing'],
    ]) {
      for (const headers of [{}, { Authorization: 'Bearer wrong' }]) {
        const response = await fetch(url + path, { method, headers });
        assert.equal(response.status, 401, `${method} ${path}`);
        assert.match(response.headers.get('content-type'), /application\/problem\+json/);
      }
    }
  });

  for (const [name, user, password] of [
    ['an empty password', 'researcher', ''], ['a wrong password', 'researcher', 'wrong'], ['an unknown user', 'nobody', 'wrong'],
  ]) {
    it(`the Hub, with ${name}`, async () => {
      const page = await (await (await openBrowser()).newContext()).newPage();
      await page.goto(`${hubURL}/hub/login`);
      await page.evaluate(() => document.querySelectorAll('input[required]').forEach((input) => { input.required = false; }));
      await page.fill('#username_input', user);
      await page.fill('#password_input', password);
      await page.click('#login_submit');
      await page.locator('.login_error').waitFor();
      assert.match(await page.locator('.login_error').innerText(), /invalid/i);
      await page.context().close();
    });
  }
  after(closeBrowser);
});
