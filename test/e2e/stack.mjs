// The running demo as the tests see it: its cluster, its Hub, a browser.
// Everything comes from the variables that `make env` prints.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { openBrowser, until } from './browser.mjs';

export { closeBrowser, openBrowser, picture, until } from './browser.mjs';

const run = promisify(execFile);

const need = (name) => {
  if (!process.env[name]) throw new Error(`${name} is not set: run the tests through make e2e`);
  return process.env[name];
};

export const hubURL = need('HUB_URL');
export const hubToken = need('HUB_API_TOKEN');
export const gatewayURL = need('GATEWAY_URL');
export const gatewayToken = need('GATEWAY_TOKEN');
export const namespace = need('ELASTICHUB_DEMO_NAMESPACE');
export const password = need('ELASTICHUB_DEMO_PASSWORD');
/** Seconds after which the demo parks a GPU kernel. */
export const idleSeconds = Number(need('ELASTICHUB_DEMO_IDLE_SECONDS'));

/** Runs kubectl in the demo's namespace and returns what it printed. */
export async function kubectl(...args) {
  const { stdout } = await run(process.env.KUBECTL ?? 'kubectl', ['-n', namespace, ...args], { maxBuffer: 1 << 26 });
  return stdout;
}

/** Objects of a kind, optionally by label selector. */
export async function list(kind, selector) {
  const args = ['get', kind, '-o', 'json'];
  if (selector) args.push('-l', selector);
  return JSON.parse(await kubectl(...args)).items;
}

/** The Hub's REST API with the demo's admin token. */
export async function hubAPI(method, path, body) {
  const response = await fetch(`${hubURL}/hub/api${path}`, {
    method,
    headers: { Authorization: `token ${hubToken}`, 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let json;
  try { json = JSON.parse(text); } catch { json = undefined; }
  return { status: response.status, text, json };
}

/** The kernel gateway with the demo client's token. */
export async function gatewayAPI(method, path, body) {
  const response = await fetch(`${gatewayURL}${path}`, {
    method,
    headers: { Authorization: `token ${gatewayToken}`, 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, json: text ? JSON.parse(text) : undefined };
}

/** The Pods of kernels that somebody has; those that are kept ready are not among them. */
export const kernelPods = () =>
  list('pods', 'app.kubernetes.io/component=kernel,elastichub.io/taken=true')
    .then((pods) => pods.filter((pod) => !pod.metadata.deletionTimestamp && ['Pending', 'Running'].includes(pod.status.phase)));

export const gpusOf = (pod) =>
  pod.spec.containers.reduce((n, c) => n + Number(c.resources?.requests?.['nvidia.com/gpu'] ?? 0), 0);

/** The user's default notebook server as the cluster has it. */
export async function notebookOf(user) {
  const found = (await list('jupyternotebooks')).filter((n) => n.spec.user === user && !n.spec.server);
  return found[0];
}

export async function notebookPod(user) {
  const notebook = await notebookOf(user);
  if (!notebook) return undefined;
  const pods = await list('pods', `elastichub.io/notebook=${notebook.metadata.name},app.kubernetes.io/component=singleuser-server`);
  return pods.find((pod) => !pod.metadata.deletionTimestamp);
}

/** Stops the user's server and removes what it left: kernels, notebook and home volume. */
export async function reset(user) {
  await hubAPI('DELETE', `/users/${user}/server`);
  await until(`${user}'s server is stopped`, async () => {
    const { json } = await hubAPI('GET', `/users/${user}`);
    return !json?.servers || Object.keys(json.servers).length === 0;
  }, { seconds: 90 });
  const notebook = await notebookOf(user);
  if (!notebook) return;
  await kubectl('delete', 'jupyternotebook', notebook.metadata.name, '--wait=true');
  await kubectl('delete', 'pvc', `home-${notebook.metadata.name}`, '--ignore-not-found', '--wait=true');
}

/** A server of the user's with nothing in it. The Hub knows the user from the first login on. */
export async function startServer(user) {
  await reset(user);
  const { status, text } = await hubAPI('POST', `/users/${user}/server`, {});
  if (status >= 300) throw new Error(`the server of ${user} is not started: ${text}`);
  await until('the server is ready', async () => (await hubAPI('GET', `/users/${user}`)).json.servers['']?.ready, { seconds: 120 });
}

/** The user's kernel, if there is one. */
export const kernelOf = async (user) =>
  (await list('jupyterkernels')).find((k) => k.spec.user === user && !k.metadata.deletionTimestamp);

/** The user's kernel when it has given back what it held. */
export const parkedKernelOf = (user) => until('the kernel is parked and holds nothing', async () => {
  const k = await kernelOf(user);
  return k?.status.phase === 'Parked' && !k.status.held && k;
}, { seconds: idleSeconds + 60 });

/** A page of a fresh profile, signed in through the directory. */
export async function signIn(user, options = {}) {
  const context = await (await openBrowser()).newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  await page.goto(`${hubURL}/hub/login?next=%2Fhub%2Fhome`);
  await page.fill('#username_input', user);
  await page.fill('#password_input', password);
  await page.click('#login_submit');
  await page.waitForURL(/\/hub\/home/);
  return page;
}

/** Milliseconds that a step took, printed so that the log holds the figure. */
export async function timed(label, step) {
  const start = performance.now();
  const value = await step();
  console.log(`# ${label}: ${((performance.now() - start) / 1000).toFixed(2)} s`);
  return value;
}
