"""Does a prompt beat a new head, with 16 labels per class? Four tasks and one of degree; test.

Written before any record. Chapter 6 has so far asked its questions of one data set. Here the same
model is fine-tuned through a prompt and through a new head, in one and the same loop
(`shared/standard.py`), on the tasks of `shared/suite.py`: the sentiment of review sentences (T1),
the topics of headlines (T2), a title and an opening of one article or of two (T3), two sentences of
the same sentiment or not (T4), and, for regression, titles and openings in three grades (T5).

**Models.** MiniLM with the general start for all tasks, SmolLM2-135M-Instruct without its chat
template, and, where it is at hand, this book's small BERT, which has read reviews alone. The start
has read the articles that labels are drawn from, without the labels, but none that is tested.

**Arms.** Standard fine-tuning. The prompt: untrained; calibrated on 200 unlabeled texts; with a
bias per class from the labels; tuned; tuned with demonstrations (one per class; at test one draw of
them for SmolLM2, two for MiniLM); with automatic words (30 candidates per class); with automatic
templates (20 by SmolLM2, `" ."` appended, a pair read as "a | b"). Of words and of templates the
best three by calibrated likelihood on the draw are tuned, and development chooses; the three
templates are an ensemble too. Three words per label. Students of 1,000 unlabeled texts with a new
head: of the prompt and the three templates, mean probability at temperature 2 (self-training), or
of SmolLM2's prompt (distillation). Frozen embeddings, a threshold on the cosine, SetFit with 16 and
32 labels per class, TF-IDF. All labels, one seed, as a limit: no verdict.

**Seeds.** Draws 42 to 46 of 16 labels per class, the next 16 per class for development; pilot draws
0 and 1. AdamW 0.01, warm-up 0.1, batch 8; MiniLM 120 steps with ten evaluations, SmolLM2 60 with
five, in all arms alike.

**Chosen on development, never on validation or test.** One rate per model and family (prompts, new
heads) for all tasks and draws: best mean accuracy, ties by likelihood, on the pilot draws of T1 and
T2 (SmolLM2: draw 0); where the best is at an edge, one value more. The checkpoint of a fit: the
same on its development texts. Two rules guard the control, on the pilot: if the package's own
class with MiniLM's pooler (`FineTunedClassifier`, 30 epochs) is more than a point better than the
new head, P2 takes that; if the loss of SmolLM2's new head on its own draw ends above half of
guessing's at every rate, it gets 120 steps. T1's template was the better of two on validation in
`ch06_choices`; the other templates and words were written without a trial.

**Primary comparisons**: the mean over tasks, equally weighted, of the difference in accuracy.

| | | tasks | confirmed | refuted, if not confirmed |
|---|---|---|---|---|
| P1 | SmolLM2: prompt - standard | T1-T4 | low > 0 | high < 2 points |
| P2 | MiniLM: prompt - standard | T1-T4 | low > 0 | high < 2 points |
| P3 | MiniLM: automatic templates - manual | T1-T4 | low > -2 points, high >= 0 | high < 0 |
| P4 | SmolLM2: demonstrations - none | T1, T2 | low > 0 | high < 1 point |

All else is **undecided**, and so is what two 95% intervals do not both say: the bootstrap over
items and draws, and a t interval over the draws' means, because a percentile bootstrap of five
draws is too narrow. Both are also recorded at 98.75%, for four comparisons. "Refuted" means this
model, these tasks and, in P3, this search. Each mean is also recorded over the tasks where the
better side's interval lies above chance: a floor is no evidence. These means, single tasks and the
comparisons in `SECONDARY` have intervals and no verdict.

**Smallest detectable differences**, 1.43 times half an interval. Half widths by task, from earlier
records: P1 4, 4, 6, 4 points; P2 2.7, 3, 6, 3; P3 2.5, 3, 6, 3; P4 3, 4. Of the means 2.3, 2.0, 1.9
and 2.5, so 3.3, 2.8, 2.8 and 3.6 points are detectable. The paper's ten points on sentiment would
be seen; its gain from demonstrations would not, and P4 will probably end undecided.

**Doubts, said now.** P1's rate rests on one draw of two tasks. SmolLM2 may have read these data,
which lifts its prompt more than its new head. MiniLM has learned to fill masks for 1,500 steps,
which is little. SetFit and frozen embeddings see no development labels, but for the row with 32. T4
is near chance by construction: two sentences read rightly with probability p agree rightly in p² +
(1-p)². Its test sentences are T1's, so means are slightly less certain than their intervals say.
The published protocol takes 1,000 steps, a grid per draw, 100 candidates, and 16 sets of
demonstrations at test.

**Time.** `ch06_final`, one thread beside another: MiniLM 0.08 s per step, 0.7 ms per token trained
and 0.23 ms per token read; SmolLM2 0.25 s, 7.3 ms and 2.0 ms. Prompts of T1 to T4 have 31, 13, 47
and 54 tokens, SmolLM2's 32, 14, 51 and 61. So a fit with its evaluations takes MiniLM 33, 21, 45
and 50 s, SmolLM2 137, 75, 210 and 248 s; test 8, 2, 7, 7 s and 68, 17, 63, 65 s; a process 12.

| | core-seconds | core-hours in all |
|---|---|---|
| pilot, MiniLM: 3 rates, 3 methods, 2 draws, T1 and T2 | 1,100 | 0.3 |
| pilot, SmolLM2: 3 rates, 2 methods, 1 draw, T1 and T2 | 1,200 | 0.6 |
| untrained | 440 | 0.8 |
| prompt and standard, MiniLM (P2): 2 x 5 x (149 + 24) s | 1,800 | 1.3 |
| the same, SmolLM2 (P1), T3 last: 2 x 5 x (670 + 213) s | 8,990 | 3.8 |
| automatic templates (P3): 20 searches of 30 s, 60 fits | 3,360 | 4.7 |
| demonstrations, SmolLM2 (P4): 10 fits of 382 s, test 205 and 103 s | 5,480 | 6.2 |
| frozen, cosine, SetFit, TF-IDF | 1,200 | 6.5 |
| the small BERT, with its pilot | 1,140 | 6.9 |
| automatic words: 60 fits | 2,480 | 7.6 |
| demonstrations, MiniLM | 3,000 | 8.4 |
| three words; students; regression | 2,560 | 9.1 |
| all labels, MiniLM | 1,500 | 9.5 |
| 1,000 steps, T1, draws 42 to 44 | 1,600 | 10.0 |

With 30% in reserve 13 core-hours, 6.5 hours of two cores. If SmolLM2 takes more than three
core-hours for T1, T2 and T4, it drops T3 before any record of it. Left out of the first plan: all
labels for SmolLM2, Qwen untrained, the review start, 1,000 steps on T2.
"""
