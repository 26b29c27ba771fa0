import * as z from 'zod';
import { type ConfigNode, formatPath } from '../documents/config-node.ts';
import { parseSpiffeId } from '../spiffe/spiffe-id.ts';
import { clientCertificateRule } from './addresses.ts';
import { checkCredentialHeader } from './header-names.ts';
import { mapKey, optionalSection, required, section, type ValueOf, valueKey } from './key.ts';
import { flag, headerName, list, nonEmptyText, pemFile, text, tokenFile, word } from './kinds.ts';
import { audiences, checkKeysUrl, jwksUri, type SubjectVerification } from './verification.ts';

/** A kind of token that agents have. */
export interface AgentTokens extends SubjectVerification {
  /** Lower case. */
  readonly header: string;
}

const issuerTls = section('TLS of the issuer.', {
  ca: pemFile('PEM: trusted certificates of the issuer, instead of the well-known ones.', {
    without: 'the well-known ones',
  }),
});

const jwksToken = optionalSection(
  'Token for the requests to `jwks_uri`, such as that of cambist’s own service account.',
  { file: required(tokenFile('File of the token. It is read again when it changes.')) },
);

const agentToken = section(
  'Tokens of agents: projected service account tokens, or other JWTs of workloads.',
  {
    header: required(
      headerName('Header with the token of the agent, with or without `Bearer `.', { examples: ['x-agent-token'] }),
    ),
    issuer: required(text('Expected `iss`.', { form: 'URL' })),
    audience: required(audiences('The `aud` must contain one of these.')),
    jwks_uri: jwksUri,
    jwks_token: jwksToken,
    tls: issuerTls,
  },
  {
    check({ header, issuer, jwksUri: uri }, { node }, written) {
      if (header !== undefined) checkCredentialHeader(header, node.at('header'));
      if (issuer !== undefined) checkKeysUrl({ issuer, jwksUri: uri, allowInsecureHttp: false }, node);
      // No metadata document may decide where a token is sent.
      if (written.jwks_token !== undefined && written.jwks_uri === undefined) {
        node.at('jwks_token').error('is sent to jwks_uri only: set jwks_uri', 'key');
      }
    },
    finish({ jwksToken, tls, ...rules }): AgentTokens {
      return { ...rules, ca: tls.ca, allowInsecureHttp: false, jwksToken: jwksToken?.file };
    },
  },
);

/** The subject of a service account token of Kubernetes: its namespace and name. */
const SERVICE_ACCOUNT = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

const knownAgent = section(
  'The identities of an agent.',
  {
    service_account: word(
      SERVICE_ACCOUNT,
      'must be namespace/name',
      'Service account in Kubernetes: `namespace/name`.',
      { examples: ['team-a/billing'] },
    ),
    spiffe_id: valueKey(
      nonEmptyText,
      'SPIFFE ID',
      'URI SAN of its certificate.',
      { examples: ['spiffe://example.org/ns/team-a/sa/billing'] },
      readSpiffeId,
    ),
    subject: text('The `sub` of its token.'),
    issuer: text('Issuer of tokens with this subject or service account, where `agents.token` names several.', {
      form: 'URL',
      without: 'the only one',
    }),
  },
  {
    check({ serviceAccount, spiffeId, subject }, { node }) {
      if (serviceAccount === undefined && spiffeId === undefined && subject === undefined && !node.broken) {
        node.error('has no identity: set service_account, spiffe_id or subject');
      }
    },
  },
);

function readSpiffeId(written: string, node: ConfigNode): string {
  const id = parseSpiffeId(written);
  if (id === undefined || id.path === '') {
    node.error('must be a SPIFFE ID with a path, as in spiffe://example.org/ns/team-a/sa/billing');
  }
  return written;
}

const forwarded = optionalSection('Identities that a proxy in front forwards.', {
  header: headerName('Header with the certificate of the agent, in the form of Envoy.', {
    default: 'x-forwarded-client-cert',
    page: 'agents.md#behind-another-proxy',
  }),
  from: required(
    list(
      'Proxies that may forward identities. The header is dropped from all others.',
      { form: 'list of SPIFFE IDs', without: 'none' },
      (text, node) => ({ value: readSpiffeId(text, node) }),
      nonEmptyText,
    ),
  ),
});

export const AGENT_TOKEN_KEYS = agentToken.keys ?? {};

export const agents = optionalSection(
  'The agents that may use the proxy. Every request then needs the identity of one.',
  {
    token: valueKey(
      z.union([agentToken.schema, z.array(agentToken.schema).min(1).max(10)], {
        error: 'must be a map with header, issuer and audience, or a list of such maps',
      }),
      'map or list of maps',
      'Tokens of agents, by the keys below.',
      { page: 'agents.md#tokens' },
      (written: never, node, scope) => {
        const all = Array.isArray(written) ? written : [written];
        const nodeOf = (index: number) => (Array.isArray(written) ? node.at(index) : node);
        const entries = all.map((each, index) => agentToken.read(each, nodeOf(index), scope));
        for (const [index, entry] of entries.entries()) {
          const earlier = entries.slice(0, index);
          if (entry && earlier.some((each) => each?.header === entry.header && each.issuer === entry.issuer)) {
            nodeOf(index).error('has the header and the issuer of an earlier entry: name its audience there');
          }
        }
        return entries.flatMap((entry) => entry ?? []);
      },
    ),
    certificate: flag('Agents are known by the URI SAN of their client certificate (SPIFFE ID).', {
      default: false,
      page: 'agents.md#certificates',
    }),
    forwarded,
    known: required(
      mapKey(
        /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
        'the name of an agent must consist of lower-case letters, digits and hyphens, at most 63',
        'Agents by name. Routes, logs and metrics use the name.',
        knownAgent,
      ),
    ),
  },
  {
    restart: 'presence',
    check({ token, certificate, forwarded, known = [] }, { node, scope }, written) {
      if (written.token === undefined && certificate !== true && forwarded === undefined && !node.broken) {
        node.error('names no way to know an agent: set token, or certificate: true');
      }
      // A data plane that asks for decisions forwards certificates as well, and has none of an agent.
      const hasClients = (key: string): boolean => {
        const listen = scope.listeners.get(key);
        return listen?.kind === 'tcp' && clientCertificateRule(listen.tls) !== undefined;
      };
      for (const [key, listeners] of [
        ['certificate', ['listen']],
        ['forwarded', ['listen', 'decisions.http.listen', 'decisions.grpc.listen']],
      ] as const) {
        if (!written[key] || listeners.some(hasClients) || node.broken) continue;
        const places = new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(listeners);
        node.at(key).error(`needs certificates of clients: set tls.client_ca, or tls: spiffe, for ${places}`, 'key');
      }
      if (known.length === 0 && !node.at('known').broken) {
        node.at('known').error('has no agent, so every request would get 401: name one');
      }
      const hasCertificates = certificate === true || forwarded !== undefined || node.at('forwarded').broken;
      checkIdentities(known, node.at('token').broken ? undefined : (token ?? []), hasCertificates, node.at('known'));
    },
  },
);

export type Agents = NonNullable<ValueOf<typeof agents>>;
export type KnownAgent = Agents['known'][number];

/** The headers that identify agents, in lower case. None of them goes upstream. */
export function agentHeaders(agents: Agents | undefined): string[] {
  const { token = [], forwarded } = agents ?? {};
  return [...token.map(({ header }) => header), ...(forwarded === undefined ? [] : [forwarded.header])];
}

/** The identities of an agent, as keys: equal for equal identities. A service account is a subject of Kubernetes. */
export function identitiesOf(
  { serviceAccount, spiffeId, subject, issuer }: KnownAgent,
  tokens: readonly AgentTokens[],
) {
  const from = issuer ?? tokens[0]?.issuer ?? '';
  const subjects = [subject, serviceAccount && `system:serviceaccount:${serviceAccount.replace('/', ':')}`];
  return [
    ...(spiffeId === undefined ? [] : [spiffeId]),
    ...subjects.flatMap((each) => (each === undefined ? [] : [tokenIdentity(from, each)])),
  ];
}

/** An issuer contains no line break. */
export function tokenIdentity(issuer: string, subject: string): string {
  return `${issuer}\n${subject}`;
}

/** @param tokens undefined where they have an error */
function checkIdentities(
  known: readonly KnownAgent[],
  tokens: readonly AgentTokens[] | undefined,
  hasCertificates: boolean,
  node: ConfigNode,
): void {
  const issuers = tokens && new Set(tokens.map(({ issuer }) => issuer));
  const owners = new Map<string, string>();
  for (const agent of known) {
    const entry = node.at(agent.name);
    const isByToken = agent.subject !== undefined || agent.serviceAccount !== undefined;
    if (isByToken && agent.issuer === undefined && issuers !== undefined && issuers.size > 1) {
      entry.error('missing key "issuer": agents.token names several issuers, so name the one of this agent');
    } else if (agent.issuer !== undefined && issuers?.has(agent.issuer) === false) {
      entry.at('issuer').error('is not the issuer of any agents.token: correct it');
    } else if (isByToken ? issuers?.size === 0 : agent.spiffeId !== undefined && !hasCertificates) {
      const [proof, fix] = isByToken
        ? ['token', 'agents.token']
        : ['certificate', 'agents.certificate or agents.forwarded'];
      entry.error(`is known by its ${proof}, which cambist does not read: set ${fix}`);
    }
    for (const identity of identitiesOf(agent, tokens ?? [])) {
      const owner = owners.get(identity);
      if (owner !== undefined)
        entry.error(`has an identity of ${formatPath([...node.path, owner])}: remove it from one`);
      owners.set(identity, agent.name);
    }
  }
}
