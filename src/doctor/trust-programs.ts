import { constants, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { withBrackets } from '../config/brackets.ts';
import { isAccessible } from '../config/sources.ts';

/** A kind of client, and how to find out whether it trusts a certificate. */
export interface TrustClient {
  readonly name: string;
  /** The variable by which it finds the certificates that it trusts. */
  readonly variable: string;
  /** Undefined: only a compiled program shows it. */
  readonly program: string | undefined;
  /** The arguments for a call. */
  readonly call: (target: CallTarget) => Promise<readonly string[]>;
}

export interface CallTarget {
  /** A name, or an address without brackets. */
  readonly host: string;
  /** Host and port of the proxy, which `HTTPS_PROXY` names as well. */
  readonly proxy: string;
  /** For files of the check. */
  readonly folder: string;
}

/** Node 20 reads no proxy variable, so its program opens the tunnel itself. */
const NODE = `
const { connect, isIP } = require('node:net');
const tls = require('node:tls');
const [, host, proxy] = process.argv;
const fail = ({ message }) => { console.error(message); process.exit(1); };
const socket = connect(proxy.split(':')[1], proxy.split(':')[0]).on('error', fail);
socket.write('CONNECT ' + (isIP(host) === 6 ? '[' + host + ']' : host) + ':443 HTTP/1.1\\r\\nHost: ' + host + '\\r\\n\\r\\n');
socket.once('data', () => {
  const name = isIP(host) === 0 ? { servername: host } : {};
  tls.connect({ socket, host, ...name }, () => process.exit(0)).on('error', fail);
});
`;

const PYTHON = `
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1])
except Exception as error:
    sys.exit(str(error))
`;

const GO = `package main

import (
	"crypto/tls"
	"net"
	"os"
)

func main() {
	host := os.Args[1]
	connection, err := net.Dial("tcp", os.Args[2])
	if err == nil {
		connection.Write([]byte("CONNECT " + net.JoinHostPort(host, "443") + " HTTP/1.1\\r\\nHost: " + host + "\\r\\n\\r\\n"))
		_, err = connection.Read(make([]byte, 1024))
	}
	if err == nil {
		err = tls.Client(connection, &tls.Config{ServerName: host}).Handshake()
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
`;

const JAVA = `
public class Check {
  public static void main(String[] args) throws Exception {
    try {
      ((java.net.HttpURLConnection) new java.net.URL(args[0]).openConnection()).getResponseCode();
    } catch (java.io.IOException error) {
      System.err.println(error.getMessage());
      System.exit(1);
    }
  }
}
`;

/** The clients that agents are made with. Rust decides at compile time whether a program reads the variable. */
export const TRUST_CLIENTS: readonly TrustClient[] = [
  {
    name: 'Node',
    variable: 'NODE_EXTRA_CA_CERTS',
    program: 'node',
    call: async ({ host, proxy }) => ['-e', NODE, host, proxy],
  },
  {
    name: 'Python',
    variable: 'SSL_CERT_FILE',
    program: 'python3',
    call: async ({ host }) => ['-c', PYTHON, urlOf(host)],
  },
  {
    name: 'Go',
    variable: 'SSL_CERT_FILE',
    program: 'go',
    call: async ({ host, proxy, folder }) => ['run', await written(folder, 'check.go', GO), host, proxy],
  },
  {
    name: 'Java',
    variable: 'JAVA_TOOL_OPTIONS',
    program: 'java',
    call: async ({ host, folder }) => [
      '-XX:TieredStopAtLevel=1',
      await written(folder, 'Check.java', JAVA),
      urlOf(host),
    ],
  },
  {
    name: 'curl',
    variable: 'CURL_CA_BUNDLE',
    program: 'curl',
    call: async ({ host }) => ['--disable', '--silent', '--show-error', '--output', '/dev/null', urlOf(host)],
  },
  { name: 'Rust', variable: 'SSL_CERT_FILE', program: undefined, call: async () => [] },
];

const urlOf = (host: string): string => `https://${withBrackets(host)}/`;

async function written(folder: string, name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

/** Searches a program as a shell does. @returns its path, or undefined */
export async function findProgram(name: string, path: string): Promise<string | undefined> {
  for (const folder of path.split(delimiter)) {
    const file = join(folder, name);
    if (await isAccessible(file, constants.X_OK)) return file;
  }
  return undefined;
}
