// Sending documents: several at once, dropped or chosen, one after the other, each with its progress.
// Without this script the form posts its files as any form does.
"use strict";
(() => {
  const PAUSES = [2000, 5000, 15000];
  const FINAL = [409, 413, 415, 422]; // what the same file would be answered again

  // 12,4 Mo, as the server writes it.
  function size(bytes) {
    let value = bytes;
    let unit = 0;
    while (value >= 1024 && unit < 3) { value /= 1024; unit += 1; }
    return `${value.toLocaleString("fr-FR", { maximumFractionDigits: unit > 1 ? 1 : 0 })}\u00a0${["o", "Ko", "Mo", "Go"][unit]}`;
  }

  // The server's French sentence, or ours when it has none.
  function sentence(status, type, body) {
    if (type.startsWith("application/json")) try { const said = JSON.parse(body).message; if (said) return said; } catch { /* ours, then */ }
    if (type.startsWith("text/plain") && body.trim()) return body.trim();
    if (status === 413) return "Ce fichier est trop volumineux.";
    if (status === 401 || status === 403 || status < 300) return "Votre session est terminée : identifiez-vous de nouveau, puis recommencez.";
    return `L’envoi a échoué (erreur ${status}). Réessayez dans quelques instants.`;
  }

  if (typeof module === "object") { module.exports = { size, sentence }; return; }

  const element = (tag, attributes = {}, text = "") => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };

  function equip(form) {
    const input = form.querySelector('input[type="file"]');
    const limit = Number(form.dataset.maxBytes) || Infinity;
    const list = element("ul", { class: "uploads" });
    const told = element("p", { class: "sr", role: "status" });
    const waiting = [];
    let current = null;
    form.after(list, told);
    form.querySelectorAll('[type="submit"], button:not([type])').forEach((button) => { button.hidden = true; });

    // One line per file: its name, what has left, what went wrong.
    function line(file) {
      const row = element("li");
      const job = { file, row, tries: 0, meta: element("p", { class: "meta" }, size(file.size)), bar: element("progress", { max: "100", value: "0", "aria-label": `Envoi de ${file.name}` }) };
      row.append(element("p", {}, file.name), job.meta, job.bar);
      list.append(row);
      return job;
    }
    function fail(job, words, retry = true) {
      job.bar.hidden = true;
      job.meta.textContent = size(job.file.size);
      const alert = element("p", { class: "err", role: "alert" });
      const acts = element("p", { class: "acts" });
      const button = (label, act) => {
        const made = element("button", { type: "button", class: "btn small" }, label);
        made.addEventListener("click", () => { alert.remove(); acts.remove(); act(); });
        acts.append(made);
      };
      if (retry) button("Réessayer", () => { job.tries = 0; job.bar.hidden = false; waiting.push(job); next(); });
      button("Retirer de la liste", () => { job.row.remove(); input.focus(); });
      job.row.append(alert, acts);
      alert.textContent = words;
    }
    function add(files) {
      for (const file of files) {
        const job = line(file);
        if (file.size > limit) fail(job, `Ce fichier dépasse la taille permise de ${size(limit)} : il n’a pas été envoyé.`, false);
        else if (!file.size) fail(job, "Ce fichier est vide : il n’a pas été envoyé.", false);
        else waiting.push(job);
      }
      next();
    }
    function next() {
      if (current || !waiting.length) return;
      current = waiting.shift();
      send(current);
    }
    function done() { current = null; next(); }

    function send(job) {
      const request = new XMLHttpRequest();
      let allSent = false;
      job.bar.value = 0;
      request.open("POST", form.dataset.uploadUrl);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("X-CSRFToken", document.querySelector('meta[name="csrf-token"]')?.content ?? "");
      request.setRequestHeader("X-Filename", encodeURIComponent(job.file.name));
      request.upload.onprogress = (event) => {
        job.bar.value = (100 * event.loaded) / job.file.size;
        job.meta.textContent = `${size(event.loaded)} sur ${size(job.file.size)}`;
      };
      request.upload.onload = () => { allSent = true; job.bar.removeAttribute("value"); job.meta.textContent = `${size(job.file.size)} · vérification en cours…`; };
      request.onload = () => {
        const page = request.status < 300 ? new DOMParser().parseFromString(request.responseText, "text/html").getElementById("documents") : null;
        if (page) { arrived(job, page); } else fail(job, sentence(request.status, request.getResponseHeader("Content-Type") ?? "", request.responseText), !FINAL.includes(request.status));
        done();
      };
      request.onerror = () => {
        // Once every byte has left, nobody knows whether the document was taken: a person looks before sending it twice.
        if (allSent) { fail(job, "La connexion a été perdue juste après l’envoi : rechargez la page pour voir si la pièce y est, avant de réessayer."); done(); } else lost(job);
      };
      request.send(job.file);
    }
    function lost(job) {
      const pause = PAUSES[job.tries];
      job.tries += 1;
      if (!pause) { fail(job, "La connexion est perdue : ce fichier n’a pas été envoyé."); done(); return; }
      job.meta.textContent = "Connexion perdue : nouvel essai dans quelques secondes…";
      let timer = 0;
      const retry = () => { clearTimeout(timer); removeEventListener("online", retry); send(job); };
      addEventListener("online", retry);
      timer = setTimeout(retry, pause);
    }
    function arrived(job, page) {
      const old = document.getElementById("documents");
      const fresh = document.importNode(page, true);
      const focused = old?.contains(document.activeElement) ? document.activeElement.id : "";
      old?.replaceWith(fresh);
      globalThis.htmx?.process(fresh);
      if (focused) document.getElementById(focused)?.focus();
      job.row.remove();
      told.textContent = `${job.file.name} : pièce ajoutée.`;
    }

    input.addEventListener("change", () => { add([...input.files]); input.value = ""; });
    const stop = (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); };
    addEventListener("dragover", stop);
    addEventListener("drop", stop); // a file dropped beside the frame must not replace the page
    form.addEventListener("dragover", () => form.classList.add("over"));
    form.addEventListener("dragleave", (event) => { if (!form.contains(event.relatedTarget)) form.classList.remove("over"); });
    form.addEventListener("drop", (event) => {
      form.classList.remove("over");
      const folder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
      add([...event.dataTransfer.items].filter((item) => item.kind === "file" && !folder(item)).map((item) => item.getAsFile()));
    });
    addEventListener("beforeunload", (event) => { if (current || waiting.length) event.preventDefault(); });
  }

  document.querySelectorAll("form.drop[data-upload-url]").forEach(equip);
})();
