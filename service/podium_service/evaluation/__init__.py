"""What a judge is worth: labelled groups -> a card of measures; two judges -> how far they agree.

gold reads what is labelled · asking puts groups through the pipeline · measures, bias and intervals
are the pure numbers · card joins them · page draws them · rebuild makes stored groups askable again
· compare sets judges side by side.
"""
