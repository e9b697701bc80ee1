// A real OpenID provider on a free loopback port. It prints one line of JSON
// when it listens, takes one command a line on its standard input, answers
// each with a line, and ends with its input.
import { createServer } from 'node:http'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Provider } from 'oidc-provider'
import { CompactSign, importJWK } from 'jose'

// Standard output is for answers alone; the provider has notes of its own.
console.log = console.info = console.warn = console.error
const say = (result) => process.stdout.write(JSON.stringify({ result }) + '\n')

const callback = 'http://127.0.0.1/callback'
const accounts = new Map() // name to claims
let issuer, provider, keys
let fault = '' // hang, error, html, huge, redirect
let requests = 0

const client = (client_id, more) => ({
  client_id, client_secret: 'not-a-secret', redirect_uris: [callback], response_types: ['code'],
  grant_types: ['authorization_code'], ...more,
})

function newKeys() {
  const jwk = (alg, type, options) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID(),
  })
  return [jwk('RS256', 'rsa', { modulusLength: 2048 }), jwk('ES256', 'ec', { namedCurve: 'P-256' })]
}

// A provider keeps its keys for life; new keys make a new one.
function renew() {
  keys = newKeys()
  provider = new Provider(issuer, {
    clients: [
      client('jupyterhub'), client('other'), client('elliptic', { id_token_signed_response_alg: 'ES256' }),
      client('console', { redirect_uris: ['https://console.example.org/oauth_callback'] }),
    ],
    jwks: { keys },
    cookies: { keys: ['test'] },
    claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups', 'realm_access', '_claim_names', '_claim_sources'] },
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({ scope: 'groups', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
      },
    },
    extraTokenClaims: (_, token) => ({ ...accounts.get(token.accountId), preferred_username: token.accountId }),
    findAccount: (_, id) => accounts.has(id) && { accountId: id, claims: () => ({ sub: id, preferred_username: id, ...accounts.get(id) }) },
    // Everybody consents to everything.
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId })
      grant.addOIDCScope('openid profile groups')
      if (ctx.oidc.params.resource) grant.addResourceScope(ctx.oidc.params.resource, 'groups')
      await grant.save()
      return grant
    },
  })
}

const faults = {
  hang: () => {},
  error: (_, res) => res.writeHead(503).end('{"error": "down"}'),
  html: (_, res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Captive portal</h1>'),
  huge: (_, res) => res.writeHead(200, { 'content-type': 'application/json' }).end(' '.repeat(2 << 20) + '{}'),
  redirect: (req, res) => res.writeHead(302, { location: `http://127.0.0.1:1${req.url}` }).end(),
}

const server = createServer(async (req, res) => {
  requests++
  if (fault) return faults[fault](req, res)
  if (!req.url.startsWith('/interaction/')) return provider.callback()(req, res)
  // Whoever says who they are is believed.
  const { params } = await provider.interactionDetails(req, res)
  await provider.interactionFinished(req, res, { login: { accountId: params.login_hint } })
})

const commands = {
  account: ({ name, claims }) => { accounts.set(name, claims) },
  rotate: renew,
  fault: (command) => { fault = command.fault },
  requests: () => requests,
  // sign makes any payload a token, by the provider's own key.
  sign: async ({ payload, header }) => {
    const key = keys[0]
    return new CompactSign(new TextEncoder().encode(JSON.stringify(payload)))
      .setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(await importJWK(key, key.alg))
  },
}

server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`
  renew()
  say(issuer)
})

const lines = createInterface({ input: process.stdin })
for await (const line of lines) {
  const command = JSON.parse(line)
  say((await commands[command.do](command)) ?? null)
}
process.exit(0)
