import type { HttpResponse } from '../tokens/bounded-request.ts';
import { type JsonObject, parseJsonObject } from '../tokens/json-object.ts';
import { TransmitterError } from './problems.ts';

/** The part of a transmitter's metadata that cambist uses. */
export interface TransmitterMetadata {
  readonly configurationEndpoint: string | undefined;
  readonly statusEndpoint: string | undefined;
  readonly verificationEndpoint: string | undefined;
}

/**
 * The URLs of a transmitter's metadata, in order of preference: inserted before the issuer's path, or appended as Keycloak does.
 * @see OpenID Shared Signals Framework 1.0 section 7.2
 */
export function transmitterMetadataUrls(issuer: string): readonly string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  const name = '/.well-known/ssf-configuration';
  return [...new Set([`${origin}${name}${path}`, `${origin}${path}${name}`])];
}

/**
 * Reads the metadata of a transmitter. Pure.
 * @throws {TransmitterError} `metadata` if the document is unusable or belongs to another issuer
 */
export function readTransmitterMetadata({ text }: HttpResponse, label: string, issuer: string): TransmitterMetadata {
  const document = parseJsonObject(text);
  if (document === undefined) throw invalid(label, 'its metadata is not a JSON object');
  if (document.issuer !== issuer) throw invalid(label, 'its metadata belongs to another issuer');
  const endpoint = (field: string) => readEndpoint(document, field, label, issuer);
  return {
    configurationEndpoint: endpoint('configuration_endpoint'),
    statusEndpoint: endpoint('status_endpoint'),
    verificationEndpoint: endpoint('verification_endpoint'),
  };
}

function readEndpoint(document: JsonObject, field: string, label: string, issuer: string): string | undefined {
  const value = document[field];
  return value === undefined ? undefined : checkEndpoint(value, `its metadata names a "${field}"`, label, issuer);
}

/**
 * Checks a URL that gets cambist's credential. Only the origin of the issuer is in the config file, so it must have that origin.
 * @throws {TransmitterError} `metadata`
 */
export function checkEndpoint(value: unknown, what: string, label: string, issuer: string): string {
  if (typeof value !== 'string' || !URL.canParse(value)) throw invalid(label, `${what} that is not a URL`);
  const { origin, username, password, hash } = new URL(value);
  if (username !== '' || password !== '' || hash !== '') throw invalid(label, `${what} that is not a plain URL`);
  if (origin !== new URL(issuer).origin) {
    throw invalid(label, `${what} on another host than the issuer: set poll_endpoint if you trust it`);
  }
  return value;
}

function invalid(label: string, why: string): TransmitterError {
  return new TransmitterError('metadata', `${label}: ${why}`);
}
