// Start: every section from its data; the trees and pairs once the page stands.

/** Mark the section that is read in the bar. */
function followSections() {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
      const current = [...links.keys()].find((id) => seen.has(id));
      for (const [id, link] of links) {
        if (id === current) {
          link.setAttribute("aria-current", "true");
          link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 40;
        } else link.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-20% 0px -60% 0px" },
  );
  for (const id of links.keys()) observer.observe(byId(id));
}

async function start() {
  const [overview, benchmarks, fragments, training, cost, index] = [
    "overview",
    "benchmarks",
    "fragments",
    "training",
    "cost",
    "index",
  ].map((id) => read(`data-${id}`));
  showOverview(overview, benchmarks, cost);
  showScores(benchmarks, overview, training);
  showErrors(benchmarks, overview);
  showFragments(fragments, overview);
  showTraining(training, overview);
  showCost(cost, overview);
  followSections();
  if (index.trees.length) await showTrees(index, overview, fragments.proofs);
  else
    for (const id of ["trees", "pairs"])
      document
        .querySelector(`#${id} .body`)
        .append(empty(`There are no ${id} yet:`, `itool mine --run ${overview.folder}`));
  document.body.dataset.ready = "";
}

async function showTrees(index, overview, proofs) {
  if (index.total > index.trees.length) {
    byId("explorer").before(
      el(
        "p",
        { class: "note" },
        `Of ${count(index.total)} trees, the ${count(index.trees.length)} with the largest ΔQ are in this page; itool sql reads the others.`,
      ),
    );
  }
  const explorer = new Explorer(index, overview);
  const show = (place, path) => {
    byId("trees").scrollIntoView();
    return explorer.open(place, path);
  };
  const named = () => explorer.find(location.hash.replace("#tree-", ""));
  window.addEventListener("hashchange", () => {
    if (named() >= 0) show(named());
  });
  await (named() >= 0 ? show(named()) : explorer.open(0));
  const pairs = await unpack("data-pairs");
  const body = document.querySelector("#pairs .body");
  if (pairs.length) {
    body.append(proofTable(proofs));
    new PairBrowser(body, pairs, index.trees, show);
  } else
    body.append(
      empty(
        "The search kept no pair; a weaker filter keeps more:",
        `itool mine --run ${overview.folder} --set pairs.min_q_chosen=0`,
      ),
    );
}

start();
