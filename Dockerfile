# The digest decides, and the tag tells which version it is. Renovate updates both; deploy/image.md says how to by hand.
ARG NODE_IMAGE=node:24.21.0-trixie-slim@sha256:173f125896c3b47ddf056734c7ea789d04595a6a08769a8f78e0df642781fb66

FROM ${NODE_IMAGE} AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY deploy/build.mjs deploy/code-cache.mjs ./deploy/
COPY src ./src
RUN npm run build
RUN node deploy/code-cache.mjs

FROM ${NODE_IMAGE} AS production
WORKDIR /app
COPY package.json package-lock.json .npmrc LICENSE ./
COPY --from=build /src/dist ./dist
# Keeps the package.json and the licences of each package, for scanners. The build context has the file modes of the checkout,
# so they are set here: the user below must read every file and may write none.
RUN npm ci --omit=dev --ignore-scripts && \
    find node_modules ! -type d ! -iname package.json ! -iname 'licen[cs]e*' -delete && \
    find node_modules -type d -empty -delete && \
    chmod -R a+rX,go-w .

# Node, the libraries that it links to, and the files that libc needs to resolve names. No shell, no package manager.
FROM ${NODE_IMAGE} AS system
COPY deploy/copy-programs.sh /
RUN sh /copy-programs.sh /system /usr/local/bin/node && \
    cp --parents /usr/local/LICENSE /etc/nsswitch.conf /system

# nft, and the shell that runs the script.
FROM ${NODE_IMAGE} AS nftables
RUN apt-get update && apt-get install --yes --no-install-recommends nftables
COPY deploy/copy-programs.sh /
RUN sh /copy-programs.sh /system /usr/sbin/nft /usr/bin/dash && \
    ln -s dash /system/usr/bin/sh

# The init container of `inject --intercept packets`: docker build --target redirect
FROM scratch AS redirect
LABEL org.opencontainers.image.title="cambist-redirect" \
      org.opencontainers.image.description="Redirects the connections of a pod to cambist." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
ENV PATH=/usr/sbin:/usr/bin
COPY --from=nftables /system /
COPY LICENSE /
COPY deploy/redirect/redirect.sh /usr/bin/cambist-redirect
# Loads rules into the kernel, with the capability NET_ADMIN alone.
USER 0:0
ENTRYPOINT ["sh", "/usr/bin/cambist-redirect"]

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cambist" \
      org.opencontainers.image.description="A token-exchange proxy beside an AI agent." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
# One malloc arena for all threads. With one per thread, libc keeps freed memory in each: 13 MiB after a while. Without a fixed
# threshold, libc raises it to the size of the script that it freed at the start, and large buffers then tear the arena: 9 MiB.
# Node resolves names in half of the threads of libuv. With its four, two names for which DNS does not respond delay all others.
ENV NODE_ENV=production \
    PATH=/usr/local/bin \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    UV_THREADPOOL_SIZE=16
COPY --from=system /system /
WORKDIR /app
COPY --from=production /app/LICENSE /app/package.json ./
COPY --from=production /app/node_modules ./node_modules
COPY --from=production /app/dist ./dist
# A number, because Kubernetes cannot tell from a name that the user is not root.
USER 65532:65532
EXPOSE 8180 9180
# Sizes the heap for a small container; deploy/image.md explains each flag. Old objects get half of the memory limit, and young
# objects 8 MiB. NODE_OPTIONS stays free for the operator. SIGUSR1 opens no debugger, from the first moment.
ENTRYPOINT ["node", "--disable-sigusr1", "--max-old-space-size-percentage=50", "--max-semi-space-size=8", "/app/dist/main.js"]
CMD ["run"]
