import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { writeNumber } from '../../../src/protobuf.ts';
import { parseSpiffeId, spiffeIdOf } from '../../../src/spiffe/spiffe-id.ts';
import { InvalidSvid, readJwtSvid, readX509Update } from '../../../src/spiffe/svid.ts';
import { type Certificate, createCertificateAuthority } from '../../harness/certificates.ts';
import { der, jwtSvid, keyDer, message, svidParts, x509SvidResponse } from '../../harness/spiffe-agent.ts';

const ID = 'spiffe://example.org/ns/team-a/sa/gateway';
const authority = createCertificateAuthority('example.org');
const other = createCertificateAuthority('other.example');
const leaf = authority.issueClient({ hosts: [ID] });
const good = svidParts(ID, leaf, authority.cert);
const now = Date.now();

const read = (response: Buffer) => readX509Update(response, now);
const expiring = (validFromSeconds: number, validUntilSeconds: number) =>
  authority.issueClient({ hosts: [ID], validFromSeconds, validUntilSeconds });

describe('an X.509-SVID', () => {
  test('is the first of a response, with the bundles of all trust domains', () => {
    const id = 'spiffe://example.org/b';
    const second = svidParts(id, authority.issueClient({ hosts: [id] }), other.cert);
    const update = read(
      x509SvidResponse([good, second], [['spiffe://other.example', der(other.cert, authority.cert)]]),
    );
    assert.equal(update.svid.spiffeId.id, ID);
    assert.equal(update.svid.certificate, new X509Certificate(leaf.cert).toString());
    assert.equal(update.svid.privateKey.reveal(), leaf.key);
    assert.equal(update.svid.expiresAtMs, Date.parse(new X509Certificate(leaf.cert).validTo));
    assert.deepEqual([...update.bundles.keys()].sort(), ['example.org', 'other.example']);
    assert.deepEqual(update.bundles.get('example.org'), [new X509Certificate(authority.cert).toString()]);
    assert.equal(update.bundles.get('other.example')?.length, 2);
    assert.deepEqual(update.refused, []);
  });

  test('has its intermediate certificates after the leaf', () => {
    const update = read(x509SvidResponse([{ ...good, certificates: der(leaf.cert, authority.cert) }]));
    assert.equal(update.svid.certificate.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.ok(update.svid.certificate.startsWith(new X509Certificate(leaf.cert).toString()));
  });

  test('never prints its key', () => {
    const { svid } = read(x509SvidResponse([good]));
    assert.doesNotMatch(`${inspect(svid, { depth: 9 })}${JSON.stringify(svid)}`, /PRIVATE KEY/);
  });

  test('comes with unknown fields of every type, which are ignored', () => {
    const [fixed64, fixed32] = [
      Buffer.from([8 * 9 + 1, ...Buffer.alloc(8)]),
      Buffer.from([8 * 9 + 5, ...Buffer.alloc(4)]),
    ];
    const unknown = [writeNumber(9, 300), fixed64, fixed32, x509SvidResponse([good]), message([99, 'later'])];
    const update = read(Buffer.concat(unknown));
    assert.equal(update.svid.spiffeId.id, ID);
  });
});

const workload = 'spiffe://example.org/a';
const pem = Buffer.from(`\n${authority.cert}`);
/** A sequence of 256 bytes or more, as a certificate would be. */
const sequence = (content: Buffer): Buffer => {
  const header = Buffer.from([0x30, 0x82, 0, 0]);
  header.writeUInt16BE(content.length, 2);
  return Buffer.concat([header, content]);
};

const EMPTY = Buffer.alloc(0);
const TRUST_DOMAIN = 'spiffe://example.org';
const changed = (parts: Partial<typeof good>) => x509SvidResponse([{ ...good, ...parts }]);
const withLeaf = (certificate: Certificate, id = ID) => x509SvidResponse([svidParts(id, certificate, authority.cert)]);
const issue = (...hosts: string[]) => authority.issueClient({ hosts });
const federated = (...domains: string[]) =>
  x509SvidResponse(
    [good],
    domains.map((domain) => [domain, der(other.cert)] as const),
  );
const MALFORMED = /certificate is malformed/;

const REFUSED: readonly (readonly [what: string, response: Buffer, problem: RegExp])[] = [
  ['an empty response', EMPTY, /no SVID/],
  ['only bundles', x509SvidResponse([], [['spiffe://other.example', der(other.cert)]]), /no SVID/],
  ['random bytes', Buffer.from('hello, world'), /malformed/],
  ['an endless number', Buffer.from([0x0a, ...Array(20).fill(0xff)]), /malformed/],
  ['a group', Buffer.from([0x0b, 0x0c]), /malformed/],
  ['too many fields', Buffer.concat(Array(10_001).fill(Buffer.from([0x42, 0]))), /malformed/],
  ['an empty SVID', changed({ spiffeId: '', certificates: EMPTY, key: EMPTY, bundle: EMPTY }), /no SPIFFE ID/],
  ['no key', changed({ key: EMPTY }), /private key is malformed/],
  ['no bundle', changed({ bundle: EMPTY }), /bundle .* invalid or empty/],
  ['a certificate without an end', changed({ certificates: good.certificates.subarray(0, -1) }), MALFORMED],
  ['bytes after a certificate', changed({ certificates: Buffer.concat([good.certificates, Buffer.of(0)]) }), MALFORMED],
  ['a certificate in PEM', changed({ certificates: Buffer.from(leaf.cert) }), MALFORMED],
  ['PEM inside of a sequence', changed({ bundle: sequence(pem) }), /bundle .* invalid/],
  ['too many certificates', changed({ certificates: der(...Array(11).fill(leaf.cert)) }), MALFORMED],
  ['too many authorities', changed({ bundle: der(...Array(101).fill(authority.cert)) }), /bundle .* invalid/],
  ['another SPIFFE ID', changed({ spiffeId: workload }), /another SPIFFE ID/],
  ['the SPIFFE ID of a trust domain', withLeaf(issue(TRUST_DOMAIN), TRUST_DOMAIN), /no SPIFFE ID/],
  ['an authority as the SVID', changed({ certificates: der(authority.cert) }), /no SPIFFE ID/],
  ['the key of another certificate', changed({ key: keyDer(issue().key) }), /does not belong/],
  ['a key in PEM', changed({ key: Buffer.from(leaf.key) }), /private key is malformed/],
  ['a certificate that is expired', withLeaf(expiring(-120, -60)), /expired/],
  ['a certificate that is not valid yet', withLeaf(expiring(60, 120)), /not valid yet/],
  ['a workload in its bundle', changed({ bundle: der(leaf.cert) }), /bundle .* invalid/],
  ['a workload as a trust domain', federated('spiffe://other.example/a'), /invalid trust domain/],
  ['an invalid trust domain', federated('Other Example'), /invalid trust domain/],
  [
    'too many trust domains',
    federated(...Array.from({ length: 1001 }, (_, i) => `spiffe://td-${i}`)),
    /more than 1000/,
  ],
];

describe('a response is refused with', () => {
  for (const [what, response, problem] of REFUSED) {
    test(what, () => {
      assert.throws(
        () => read(response),
        (error) => error instanceof InvalidSvid && problem.test(error.message),
      );
    });
  }
});

describe('a federated bundle', () => {
  for (const [what, bundle] of [
    ['is empty', Buffer.alloc(0)],
    ['is malformed', Buffer.from('no certificate')],
    ['has the certificate of a workload', der(other.cert, leaf.cert)],
  ] as const) {
    test(`that ${what} is refused alone`, () => {
      const federated = [
        ['spiffe://bad.example', bundle],
        ['spiffe://other.example', der(other.cert)],
      ] as const;
      const update = read(x509SvidResponse([good], federated));
      assert.deepEqual([...update.bundles.keys()].sort(), ['example.org', 'other.example']);
      assert.deepEqual(update.refused, ['spiffe://bad.example']);
    });
  }

  test('never replaces that of the own trust domain', () => {
    const update = read(x509SvidResponse([good], [['spiffe://example.org', der(other.cert)]]));
    assert.deepEqual(update.bundles.get('example.org'), [new X509Certificate(authority.cert).toString()]);
  });
});

test('no bytes make reading fail in another way', () => {
  const valid = x509SvidResponse([good], [['spiffe://other.example', der(other.cert)]]);
  const changed = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 5 })
    .map((changes) => changes.reduce((bytes, [at, value]) => bytes.fill(value, at, at + 1), Buffer.from(valid)));
  fc.assert(
    fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 200 }).map(Buffer.from)), (bytes) => {
      try {
        assert.equal(read(bytes).svid.spiffeId.id, ID);
      } catch (error) {
        assert.ok(error instanceof InvalidSvid, String(error));
      }
    }),
  );
});

const AUDIENCE = 'https://idp.example.com';
const claims = { sub: ID, aud: [AUDIENCE, 'more'], exp: Math.floor(now / 1000) + 300 };
const token = (change: Readonly<Record<string, unknown>> = {}): Buffer => {
  return message([1, message([1, ID], [2, jwtSvid({ ...claims, ...change })])]);
};

describe('a JWT-SVID', () => {
  test('is the first of a response', () => {
    const response = Buffer.concat([token({ aud: AUDIENCE }), token({ sub: 'spiffe://example.org/b' })]);
    const svid = readJwtSvid(response, AUDIENCE, now);
    assert.equal(svid.token.reveal(), jwtSvid({ ...claims, aud: AUDIENCE }));
    assert.equal(svid.expiresAtMs, claims.exp * 1000);
  });

  const refused: readonly (readonly [what: string, response: Buffer])[] = [
    ['no token', Buffer.alloc(0)],
    ['an empty token', message([1, message([1, ID])])],
    ['a malformed response', Buffer.from([0x0a, 0x7f])],
    ['a malformed token', message([1, message([1, ID], [2, 'a.b.c'])])],
    ['a token with a line end', message([1, message([1, ID], [2, `${jwtSvid(claims)}\r\nx: y`])])],
    ['a token that is too long', token({ more: 'x'.repeat(16_384) })],
    ['no audience', token({ aud: undefined })],
    ['another audience', token({ aud: 'https://idp.example.com/' })],
    ['another subject', token({ sub: workload })],
    ['a SPIFFE ID that is invalid', message([1, message([1, 'me'], [2, jwtSvid({ ...claims, sub: 'me' })])])],
    ['no expiry', token({ exp: undefined })],
    ['an expiry as text', token({ exp: String(claims.exp) })],
    ['an expiry in the past', token({ exp: Math.floor(now / 1000) - 1 })],
  ];
  for (const [what, response] of refused) {
    test(`is refused with ${what}`, () => assert.throws(() => readJwtSvid(response, AUDIENCE, now), InvalidSvid));
  }
});

/** The rules of the SPIFFE ID specification, section 2. */
const VALID: readonly (readonly [string, string, string])[] = [
  ['spiffe://example.org', 'example.org', ''],
  ['spiffe://k8s-west.example.com/ns/staging/sa/default', 'k8s-west.example.com', '/ns/staging/sa/default'],
  ['spiffe://trust_domain-0.a/Path_1.b-C', 'trust_domain-0.a', '/Path_1.b-C'],
  ['spiffe://10.0.0.1/a', '10.0.0.1', '/a'],
  ['spiffe://a..b/c', 'a..b', '/c'],
  ['spiffe://td/.a/..b/.../c.', 'td', '/.a/..b/.../c.'],
  [`spiffe://${'t'.repeat(255)}/a`, 't'.repeat(255), '/a'],
  [`spiffe://td/${'a'.repeat(2036)}`, 'td', `/${'a'.repeat(2036)}`],
];

const INVALID: readonly (readonly [why: string, id: string])[] = [
  ['empty', ''],
  ['another scheme', 'https://td/a'],
  ['no scheme', 'td/a'],
  ['one slash', 'spiffe:/td/a'],
  ['a scheme in upper case', 'SPIFFE://td/a'],
  ['an empty trust domain', 'spiffe:///a'],
  ['a trust domain in upper case', 'spiffe://Td/a'],
  ['a space before', ' spiffe://td/a'],
  ['a trust domain of 256 characters', `spiffe://${'t'.repeat(256)}/a`],
  ['more than 2048 characters', `spiffe://td/${'a'.repeat(2037)}`],
];

describe('a SPIFFE ID', () => {
  for (const [id, trustDomain, path] of VALID) {
    test(`${id.slice(0, 60)} is valid`, () => {
      assert.deepEqual(parseSpiffeId(id), { id, trustDomain, path });
    });
  }
  for (const [why, id] of INVALID) {
    test(`with ${why} is invalid`, () => assert.equal(parseSpiffeId(id), undefined));
  }

  test('with another character, an empty segment or a dot segment anywhere is invalid', () => {
    const others = Array.from({ length: 0x180 }, (_, code) => String.fromCharCode(code)).filter(
      (one) => !/[\w.-]/.test(one),
    );
    for (const wrong of [...others, '/.', '/..']) {
      for (const id of [
        `spiffe://td${wrong}`,
        `spiffe://td${wrong}/a`,
        `spiffe://td/a${wrong}`,
        `spiffe://td/a${wrong}/b`,
      ]) {
        assert.equal(parseSpiffeId(id), undefined, JSON.stringify(id));
      }
    }
  });
});

/** As Node prints the names of a certificate. */
const CERTIFICATES: readonly (readonly [
  what: string,
  names: string | undefined,
  id: string | undefined,
  ca?: boolean,
])[] = [
  ['one SPIFFE ID', 'URI:spiffe://td/a', 'spiffe://td/a'],
  ['host names and one SPIFFE ID', 'DNS:a.example.com, URI:spiffe://td/a, IP Address:10.0.0.1', 'spiffe://td/a'],
  ['two SPIFFE IDs', 'URI:spiffe://td/a, URI:spiffe://td/b', undefined],
  ['a SPIFFE ID and another URI', 'URI:spiffe://td/a, URI:https://example.com/', undefined],
  ['a SPIFFE ID as a host name', 'DNS:URI:spiffe://td/a', undefined],
  ['a SPIFFE ID after a comma in a host name', 'DNS:"a\\u002c URI:spiffe://td/a"', undefined],
  ['a second SPIFFE ID after a comma', 'URI:"spiffe://td/a\\u002c URI:spiffe://td/b"', undefined],
  ['a trust domain', 'URI:spiffe://td', undefined],
  ['an invalid SPIFFE ID', 'URI:spiffe://td/a?b', undefined],
  ['no names', undefined, undefined],
  ['a SPIFFE ID, of a CA', 'URI:spiffe://td/a', undefined, true],
];

describe('a certificate with', () => {
  for (const [what, subjectAltName, id, ca = false] of CERTIFICATES) {
    test(`${what} ${id === undefined ? 'has no identity' : 'has this identity'}`, () => {
      assert.equal(spiffeIdOf({ ca, subjectAltName: subjectAltName as string })?.id, id);
    });
  }
});
