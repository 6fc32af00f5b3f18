// Pages opened from file:// may start no worker. There, this runs a worker's script in a hidden frame instead.
(function () {
  if (location.protocol !== "file:") return;
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inner = this.frame.contentWindow;
      inner.document.open();
      inner.document.write(
        "<!doctype html><script>" +
          "postMessage = data => parent.dispatchEvent(new CustomEvent('from-worker', { detail: [window, data] }));" +
          "importScripts = (...urls) => urls.reduce((before, url) => before.then(() => new Promise((loaded, failed) => {" +
          "  const script = document.createElement('script');" +
          "  script.src = url; script.onload = loaded; script.onerror = failed; document.body.appendChild(script);" +
          "})), Promise.resolve());" +
          "<\/script><body><script src=\"" + new URL(url, location.href) + "\"><\/script></body>"
      );
      inner.document.close();
      this.ready = new Promise((loaded) => (this.frame.onload = loaded));
      window.addEventListener("from-worker", (event) => {
        const [sender, data] = event.detail;
        if (sender !== inner) return;
        const message = new MessageEvent("message", { data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      });
    }
    postMessage(data) {
      this.ready.then(() => {
        const inner = this.frame.contentWindow;
        inner.dispatchEvent(new inner.MessageEvent("message", { data: structuredClone(data) }));
      });
    }
    terminate() {
      this.frame.remove();
    }
  };
})();
