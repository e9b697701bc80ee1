// Figures of the running demo: how long a kernel takes to start, what a
// trivial execute costs, and what every process weighs. `make bench` runs it.
import { randomUUID } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import WebSocket from 'ws';
import { gatewayAPI, gatewayToken, gatewayURL } from './stack.mjs';

const rounds = Number(process.env.BENCH_ROUNDS ?? 5);
const executes = 200;

/** A minimal Jupyter client: one session on one kernel, legacy text framing. */
class Session {
  static async open(kernel) {
    const session = new Session();
    session.id = randomUUID();
    session.socket = new WebSocket(
      `${gatewayURL.replace(/^http/, 'ws')}/api/kernels/${kernel}/channels?session_id=${session.id}`,
      { headers: { Authorization: `token ${gatewayToken}` } });
    session.waiting = new Map();
    session.socket.on('message', (data) => {
      const message = JSON.parse(data);
      session.waiting.get(message.parent_header?.msg_id)?.(message);
    });
    await new Promise((resolve, reject) => session.socket.once('open', resolve).once('error', reject));
    return session;
  }

  /** Milliseconds until the output of `code` arrives and until its reply does. */
  execute(code) {
    const id = randomUUID();
    const began = performance.now();
    return new Promise((resolve) => {
      let output;
      this.waiting.set(id, ({ msg_type: type }) => {
        if (type === 'stream') output ??= performance.now() - began;
        if (type !== 'execute_reply') return;
        this.waiting.delete(id);
        resolve({ output, reply: performance.now() - began });
      });
      this.socket.send(JSON.stringify({
        channel: 'shell', buffers: [], parent_header: {}, metadata: {},
        header: { msg_id: id, msg_type: 'execute_request', session: this.id, username: 'bench', version: '5.3', date: new Date().toISOString() },
        content: { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false, stop_on_error: true },
      }));
    });
  }

  close() { this.socket.close(); }
}

const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];
const report = (label, values) => console.log(
  `${label}: p50 ${quantile(values, 0.5).toFixed(1)} ms, p99 ${quantile(values, 0.99).toFixed(1)} ms, n=${values.length}`);

for (const name of ['python-cpu', 'python-gpu']) {
  const cold = [], warm = [];
  for (let i = 0; i < rounds; i++) {
    const began = performance.now();
    const { status, json } = await gatewayAPI('POST', '/api/kernels', { name });
    if (status !== 201) throw new Error(`POST /api/kernels: ${status} ${JSON.stringify(json)}`);
    const session = await Session.open(json.id);
    await session.execute('print(42)');
    cold.push(performance.now() - began);
    for (let n = 0; n < executes; n++) warm.push((await session.execute('print(42)')).reply);
    session.close();
    await gatewayAPI('DELETE', `/api/kernels/${json.id}`);
  }
  report(`${name}: POST to first reply`, cold);
  report(`${name}: execute to reply, warm`, warm);
}

console.log('# resident memory of every process');
const ours = /elastichub|jupyterhub|configurable-http-proxy|slapd|ipykernel|jupyter-lab|kube-|kubelet|etcd|containerd$|coredns|localcluster/;
const weights = [];
for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean).slice(0, 3);
    const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    if (rss && ours.test(command.join(' '))) weights.push([Number(rss) / 1024, command.map((part) => part.split('/').pop()).join(' ')]);
  } catch { /* the process ended meanwhile */ }
}
for (const [mib, line] of weights.sort((a, b) => b[0] - a[0])) console.log(`${mib.toFixed(0).padStart(6)} MiB  ${line}`);
